"""The scripts that complete words, one for each shell: its own part, and tables in its language."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .completion import Tables

SHARED = r"""_tinyatv_find() { # CURRENT WORD...: sets the kind of what completes it, and its prefix
    local cur=$1 word sub='' flag='' first=1 count=0
    shift
    for word in "$@"; do
        if [[ -n $flag ]]; then
            flag=''
        elif [[ $word == -* ]]; then
            [[ $word != *=* ]] && _tinyatv_value "$sub" "$word" >/dev/null && flag=$word
        elif ((first)); then
            first=0
            _tinyatv_arguments "$word" 0 >/dev/null && sub=$word
        else
            ((count += 1))
        fi
    done
    if [[ -n $flag ]]; then
        kind=$(_tinyatv_value "$sub" "$flag")
    elif [[ $cur == --*=* ]]; then
        prefix=${cur%%=*}=
        kind=$(_tinyatv_value "$sub" "${cur%%=*}")
    elif [[ $cur == -* ]]; then
        kind=$(_tinyatv_flags "$sub")
    elif [[ -n $sub ]]; then
        kind=$(_tinyatv_arguments "$sub" "$count")
    elif [[ $cur == *=* ]]; then
        prefix=${cur%%=*}=
        kind=$(_tinyatv_behind "${cur%%=*}")
    elif ((first)); then
        kind="$_tinyatv_subcommands $_tinyatv_words"
    else
        kind=$_tinyatv_words
    fi
}
"""

# bash cuts words at "=" and ":" (COMP_WORDBREAKS): set_repeat=off comes in three parts, and what is
# offered must begin behind the last cut. Names of devices are never evaluated, nor once typed.
BASH = r"""# bash completion of tinyatv; in ~/.bashrc: source <(tinyatv completion bash)
_tinyatv() {
    local rest=${COMP_LINE:0:COMP_POINT} part word kind='' prefix='' quote='' cut='' list='' i
    local -a words=()
    COMPREPLY=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $rest == [[:space:]]* ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            [[ ${#rest} -lt ${#part} ]] && part=$rest
            words+=("$part")
        else
            [[ ${#rest} -lt ${#part} ]] && part=$rest
            words[${#words[@]}-1]+=$part
        fi
        rest=${rest#"$part"}
    done
    local program=${words[0]/#\~/$HOME} cur=${words[${#words[@]}-1]}
    unset "words[${#words[@]}-1]"
    _tinyatv_find "$cur" "${words[@]:1}"
    cur=${cur#"$prefix"}
    case $cur in
        [\"\']*) quote=${cur:0:1} cur=${cur:1} ;;
        *) cur=${cur//\\/} ;;
    esac
    case $kind in
        @files)
            list=$(compgen -f -- "$cur")
            compopt -o filenames 2>/dev/null
            ;;
        @names | @ids) list=$("$program" complete-names "${kind#@}" 2>/dev/null) ;;
        @*) ;;
        *) list=${kind// /$'\n'} ;;
    esac
    [[ -z $quote && $COMP_WORDBREAKS == *:* && $kind != @files ]] && cut=${cur%"${cur##*:}"}
    [[ $COMP_WORDBREAKS == *=* ]] && prefix=''
    while IFS= read -r word; do
        [[ -n $word && $word == "$cur"* ]] || continue
        word=${word#"$cut"}
        case $kind$quote in
            @[ni]*\') word=${word//\'/\'\\\'\'} ;;
            @[ni]*\")
                word=${word//\\/\\\\} word=${word//\$/\\\$} word=${word//\`/\\\`}
                word=${word//\"/\\\"} word=${word//!/\"\'!\'\"}
                ;;
            @[ni]*) printf -v word %q "$word" ;;
        esac
        COMPREPLY+=("$prefix$word")
    done <<<"$list"
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _tinyatv tinyatv
"""

ZSH = r"""#compdef tinyatv
# zsh completion of tinyatv; in ~/.zshrc, after compinit: source <(tinyatv completion zsh)
_tinyatv() {
    local word kind='' prefix=''
    local -a list described
    _tinyatv_find "${(Q)PREFIX}" "${(@Q)words[2,CURRENT-1]}"
    [[ -n $prefix ]] && compset -P 1 '*='
    case $kind in
        @files) _files ;;
        @names | @ids)
            list=(${(f)"$(${~${(Q)words[1]}} complete-names ${kind#@} 2>/dev/null)"})
            compadd -a list
            ;;
        @*) _message 'a value' ;;
        *)
            for word in ${=kind}; do
                [[ $word == *= ]] && list+=$word || described+="$word:${_tinyatv_texts[$word]}"
            done
            _describe -t words word described
            compadd -S '' -a list
            ;;
    esac
}
if [[ $funcstack[1] == _tinyatv ]]; then
    _tinyatv "$@"
else
    compdef _tinyatv tinyatv
fi
"""

FISH = r"""# fish completion of tinyatv
# tinyatv completion fish > ~/.config/fish/completions/tinyatv.fish
function __tinyatv
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l program $words[1]
    set -l sub ''
    set -l flag ''
    set -l first 1
    set -l count 0
    set -l prefix ''
    for word in $words[2..-1]
        if test -n "$flag"
            set flag ''
        else if string match -q -- '-*' $word
            if not string match -q -- '*=*' $word; and __tinyatv_value "$sub" $word >/dev/null
                set flag $word
            end
        else if test $first = 1
            set first 0
            __tinyatv_arguments $word 0 >/dev/null; and set sub $word
        else
            set count (math $count + 1)
        end
    end
    set -l kind
    set -l name (string split -m 1 -- = $cur)[1]
    if test -n "$flag"
        set kind (__tinyatv_value "$sub" $flag)
    else if string match -q -- '--*=*' $cur
        set prefix "$name="
        set kind (__tinyatv_value "$sub" $name)
    else if string match -q -- '-*' $cur
        set kind (__tinyatv_flags "$sub")
    else if test -n "$sub"
        set kind (__tinyatv_arguments $sub $count)
    else if string match -q -- '*=*' $cur
        set prefix "$name="
        set kind (__tinyatv_behind $name)
    else if test $first = 1
        set kind (string join ' ' $__tinyatv_subcommands $__tinyatv_words)
    else
        set kind (string join ' ' $__tinyatv_words)
    end
    switch "$kind"
        case '@files'
            set cur (string sub -s (math (string length -- $prefix) + 1) -- $cur)
            for path in (__fish_complete_path $cur)
                echo -- $prefix$path
            end
        case '@names' '@ids'
            for name in ($program complete-names (string sub -s 2 -- $kind) 2>/dev/null)
                echo -- $prefix$name
            end
        case '@*'
        case '*'
            for word in (string split -n ' ' -- $kind)
                printf '%s\t%s\n' $prefix$word (__tinyatv_text $word)
            end
    end
end
complete -c tinyatv -f -a '(__tinyatv)'
"""


def script(shell: str, tables: Tables) -> str:
    """The script for one shell."""
    if shell == "fish":
        return FISH + _fish(tables)
    if shell == "bash":
        return _shared(tables) + BASH
    texts = " ".join(
        f"{_quoted(word)} {_quoted(text.replace(':', ';'))}" for word, text in tables.texts.items()
    )
    first, rest = ZSH.split("\n", 1)  # the first line says what it is for
    return f"{first}\n{_shared(tables)}typeset -gA _tinyatv_texts=({texts})\n{rest}"


def _cases(tables: Tables) -> dict[str, list[tuple[str, str]]]:
    """The tables as functions: patterns and what they give. The first that fits wins."""
    values = sorted(tables.values.items(), key=lambda item: not item[0][0])  # own ones first
    everywhere = tables.flags[""]
    flags = [
        (sub, " ".join(dict.fromkeys([*own, *everywhere])))
        for sub, own in tables.flags.items()
        if sub
    ]
    arguments = []
    for sub, places in tables.arguments.items():
        arguments += [(f"{sub} {n}", kind) for n, kind in enumerate(places[:-1])]
        arguments.append((f"{sub} *", places[-1] if places else "@free"))
    return {
        "value": [(f"{sub or '*'} {flag}", kind) for (sub, flag), kind in values],
        "flags": [*flags, ("*", " ".join(everywhere))],
        "arguments": arguments,
        "behind": list(tables.behind.items()),
    }


def _shared(tables: Tables) -> str:
    """What bash and zsh have in common: the tables, and how to read them."""
    lines = [f"_tinyatv_subcommands={_quoted(' '.join(tables.subcommands))}"]
    lines += [f"_tinyatv_words={_quoted(' '.join(tables.words))}"]
    for name, cases in _cases(tables).items():
        lines += [f"_tinyatv_{name}() {{", '    case "$*" in']
        for kind, alike in groupby(cases, lambda case: case[1]):
            patterns = " | ".join(_pattern(one) for one, _ in alike)
            lines.append(f"        {patterns}) echo {_quoted(kind)} ;;")
        lines += ["        *) return 1 ;;", "    esac", "}"]
    return "\n".join(lines) + "\n" + SHARED


def _pattern(text: str) -> str:
    """A pattern in which nothing but ``*`` is special."""
    return "*".join(_quoted(part) if part else "" for part in text.split("*"))


def _fish(tables: Tables) -> str:
    lines = [
        f"set -g __tinyatv_subcommands {' '.join(map(_quoted, tables.subcommands))}",
        f"set -g __tinyatv_words {' '.join(map(_quoted, tables.words))}",
    ]
    for name, cases in _cases(tables).items():
        lines += [f"function __tinyatv_{name}", '    switch "$argv"']
        for kind, alike in groupby(cases, lambda case: case[1]):
            patterns = " ".join(_quoted(one) for one, _ in alike)
            lines += [f"        case {patterns}", f"            echo -- {_quoted(kind)}"]
        lines += ["        case '*'", "            return 1", "    end", "end"]
    lines += ["function __tinyatv_text", "    switch $argv[1]"]
    for word, text in tables.texts.items():
        lines += [f"        case {_quoted(word)}", f"            echo -- {_fish_quoted(text)}"]
    return "\n".join([*lines, "    end", "end"]) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
