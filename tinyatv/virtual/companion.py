"""The device side of Companion: handshake, sessions, buttons, apps, text, and who is told what."""

from __future__ import annotations

import logging
import math
import secrets
import socket
from typing import TYPE_CHECKING, Any, Callable

from ..crypto.chacha20poly1305 import Session
from ..errors import AppleTVError, ConnectionLost
from ..model import MediaType, PowerState
from ..pairing import hap
from ..pairing.hap import channel_keys
from ..wire import companion_codes as codes
from ..wire.companion import (
    AUTH,
    EVENT,
    NO_OP,
    OPACK,
    REPLY,
    REQUEST,
    SETUP_NEXT,
    SETUP_START,
    VERIFY_NEXT,
    VERIFY_START,
    CompanionWire,
)
from . import companion_text
from .companion_identity import CompanionIdentity, CompanionQuirks
from .peer import StreamPeer, StreamServer
from .server import REMEMBERED, remember
from .state import EFFECTS, State, direction

if TYPE_CHECKING:
    from .faults import Fault
    from .side import Setup

log = logging.getLogger(__name__)

BUTTONS = {code: name for name, code in codes.BUTTONS.items()}  # of two, what it does counts

MEDIA = {  # command: word
    codes.PLAY: "play",
    codes.PAUSE: "pause",
    codes.NEXT: "next",
    codes.PREVIOUS: "previous",
    codes.GET_VOLUME: "volume",
    codes.SET_VOLUME: "set_volume",
    codes.SKIP_BY: "skip",
    codes.BEGIN_FAST_FORWARD: "fast_forward",
    codes.END_FAST_FORWARD: "end_seeking",
    codes.BEGIN_REWIND: "rewind",
    codes.END_REWIND: "end_seeking",
    codes.GET_CAPTIONS: "captions",
    codes.SET_CAPTIONS: "set_captions",
}

COMMANDS = (
    "play", "pause", "next", "previous", "fast_forward", "rewind", "skip_forward", "skip_backward",
)  # fmt: skip  # of what plays: those that the flags tell of

STRAY = 0x7FFFFFFE  # number of a request that was never made
REFUSED = 1  # made up: which codes real devices give for refusals is not known

NOTHING = """
    _ping, _systemInfoUpdate, FetchUpNextInfoEvent, FetchSiriStatus, PublishPresenceEvent,
    SwitchActiveUserAccountEvent,
    FetchSiriRemoteInfo, FetchCurrentTopShelfItemsEvent, AddToUpNextEvent, RemoveFromUpNextEvent,
    MarkAsWatchedEvent, PlayMediaEvent
"""
"""Requests that are answered, and do nothing here; iPhones send some of them unasked (captured)."""

_WORDS = {  # identifier: word by which faults know it, besides itself
    "_systemInfo": "connect",
    "_launchApp": "launch_app",
    "FetchLaunchableApplicationsEvent": "app_list",
    "FetchUserAccountsEvent": "account_list",
    "SwitchUserAccountEvent": "switch_account",
    "FetchAttentionState": "power_state",
    "_tiStart": "keyboard",
    "_tiC": "text",
    "_hidT": "touch",
}


class VirtualCompanion(StreamServer["CompanionPeer"]):
    """Serves Companion.

    Args:
        setup: What it is made with.

    Attributes:
        quirks: What it does differently from others.
        accessory: The device's memory of pairings.
        identity: What it says of itself.
        attention: How ``FetchAttentionState`` is answered; see ``CompanionProfile``.
        requests: Names of all messages received, in order; ``"pair M1"`` for those of handshakes.
        touches: (phase, x, y) of all touches, in order.
        voice: What was said, as lists of Opus packets, the last one maybe not at its end.
        complaints: What clients did wrong, in words.
        port: TCP port.
    """

    protocol = "companion"
    kind = "_companion-link._tcp.local."

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.identity: CompanionIdentity = CompanionIdentity(setup)
        self.quirks: CompanionQuirks = CompanionQuirks()
        self.attention = self.identity.profile.attention
        self.touches: list[tuple[int, float, float]] = []
        self.voice: list[list[bytes]] = []
        self.complaints: list[str] = []
        self._handlers: dict[str, Callable[[CompanionPeer, Any], dict[Any, Any] | None]] = {
            "_systemInfo": self._system_info,
            "_sessionStart": self._session_start,
            "_sessionStop": self._session_stop,
            "TVRCSessionStart": self._remote_session,
            "TVRCSessionStop": self._remote_session_stop,
            "_touchStart": self._touch_start,
            "_touchStop": self._touch_stop,
            "_tiStart": self._text_start,
            "_tiStop": self._text_stop,
            "_hidC": self._button,
            "_mcc": self._media,
            "_launchApp": self._launch,
            "FetchLaunchableApplicationsEvent": self._apps,
            "FetchUserAccountsEvent": self._accounts,
            "SwitchUserAccountEvent": self._switch_account,
            "FetchAttentionState": self._attention,
            "FetchMediaControlStatus": self._controls,
            "FetchCurrentNowPlayingInfoEvent": self._now_playing,
            "FetchSupportedActionsEvent": self._supported_actions,
            "_siriStart": self._siri_start,
            "_siriStop": self._siri_stop,
        }
        for one in NOTHING.split(","):
            self._handlers[one.strip()] = lambda peer, content: {}
        self._events: dict[str, Callable[[CompanionPeer, Any], object]] = {
            "_interest": self._interest,
            "_hidT": self._touch,
            "_tiC": self._text,
            "_siA": self._siri_audio,
        }

    # -- life ------------------------------------------------------------------------------------

    def restore_from(self, before: VirtualCompanion) -> None:
        """Take over the settings of the one before a reboot."""
        self.quirks, self.identity = before.quirks, before.identity
        self.attention = before.attention
        self.requests, self.touches, self.voice = before.requests, before.touches, before.voice
        self.complaints = before.complaints

    def _accepted(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.adopt(CompanionPeer(sock, address, self))

    def _complain(self, peer: CompanionPeer, words: str, drop: bool = False) -> None:
        """Write down what a client did wrong."""
        self.complaints.append(words)
        self._state.notify()
        if drop:
            peer.link.close()

    # -- what clients are told -------------------------------------------------------------------

    def notify_peers(self) -> None:
        """Tell every client what is new. Changes of the state do so by themselves."""
        for peer in self.peers:
            if peer.client is None:
                continue
            try:
                with peer.lock:
                    self._notify(peer, CompanionView(self._state))
            except AppleTVError as exc:
                log.debug("%s: %s", self.name, exc)  # it went away; its link has noticed

    def _notify(self, peer: CompanionPeer, now: CompanionView) -> None:
        before, peer.told = peer.told, now
        quirks = self.quirks
        if (now.flags, now.volume) != (before.flags, before.volume):
            peer.notify("_iMC", {"_mcF": now.flags, "_mcs": now.captions})
        if now.flags != before.flags:
            peer.notify("MediaControlStatus", {"MediaControlFlags": now.flags})
        if now.attention != before.attention and peer.installation and not quirks.no_power_events:
            for name in codes.STATUS_EVENTS[: 1 if quirks.system_status_only else 2]:
                peer.notify(name, {"state": now.attention})
        if now.playing != before.playing and "NowPlayingInfo" in peer.interests:  # it takes long
            peer.notify("NowPlayingInfo", self._now_playing_info())
        if now.field is not before.field and peer.text_session is not None:
            if before.field is not None:
                peer.send_event("_tiStopped", {})
            if now.field is not None:
                peer.send_event("_tiStarted", self._field(peer))

    def _resend_volume(self) -> None:
        """Whoever changes the volume hears of it, even if it was as loud before."""
        for peer in self.peers:
            peer.told.volume = None

    def _field(self, peer: CompanionPeer) -> dict[str, Any]:
        """The text field under a new session, or nothing if there is none."""
        peer.text_session = secrets.token_bytes(16)
        with self._state.lock:
            field = self._state.field
            return {} if field is None else {"_tiD": companion_text.field(peer.text_session, field)}

    # -- what clients ask ------------------------------------------------------------------------

    def received(self, peer: CompanionPeer, frame: tuple[int, dict[Any, Any]]) -> None:
        """A message arrived."""
        kind, message = frame
        try:
            if kind in AUTH:
                self._authenticate(peer, kind, message)
            else:
                self._received(peer, message)
        except AppleTVError as exc:
            log.debug("%s: %s", self.name, exc)  # the peer went away in the middle
        self._state.notify()

    def _received(self, peer: CompanionPeer, message: dict[Any, Any]) -> None:
        peer.client = peer.client or peer.paired  # it goes on with the keys of the pairing
        name, content, number = (message.get(key) for key in ("_i", "_c", "_x"))
        if not isinstance(content, dict):
            content = {}
        name = name if isinstance(name, str) else ""
        remember(self.requests, name[:REMEMBERED])
        self._state.notify()
        fault = self._faults.take(*self._words(name, content), name)
        if fault is not None:
            self._stopping.wait(fault.delay)
        with peer.at_once() as held:
            if message.get("_t") == REQUEST:
                reply = self._answer(peer, name, content, fault)
                messages = [] if reply is None else peer.answers(reply, number, fault)
                if self.quirks.events_first:
                    held += messages
                else:
                    held[:0] = messages
            elif name not in self._events:
                self._complain(peer, f"event {name!r}, which is not known"[:200])
            elif not _is_bad(fault):
                self._events[name](peer, content)
        self._misbehave(peer, fault)

    def _answer(
        self, peer: CompanionPeer, name: str, content: dict[Any, Any], fault: Fault | None
    ) -> dict[str, Any] | None:
        """Do what is asked, or not; returns the answer, or None if there is none."""
        if fault is not None and fault.status is not None:
            reply: dict[str, Any] | None = _error(fault.status, "refused")
        elif _is_bad(fault):
            reply = None
        else:
            reply = self._carry_out(peer, name, content)
        if reply is not None and self.quirks.named_replies:
            reply = {"_i": name, **reply}
        return reply

    def _carry_out(
        self, peer: CompanionPeer, name: str, content: dict[Any, Any]
    ) -> dict[str, Any] | None:  # fmt: skip
        """Do what is asked; returns the answer, or None if there is none."""
        handler = self._handlers.get(name)
        try:
            if handler is None:
                if self.quirks.lenient:
                    return {"_c": {}}
                raise _Refused("No request handler", codes.NO_HANDLER)
            answer = handler(peer, content)
        except _Refused as refused:
            return _error(refused.code, str(refused))
        return None if answer is None else {"_c": answer}

    def _words(self, name: str, content: dict[Any, Any]) -> list[str]:
        """The words by which faults know a message."""
        if name == "_hidC":  # once for both edges
            word = BUTTONS.get(_code(content.get("_hidC")), "")
            wanted = codes.UP if word in ("turn_off", "turn_on") else codes.DOWN
            return [word] if word and content.get("_hBtS") == wanted else []
        if name == "_mcc":
            word = MEDIA.get(_code(content.get("_mcc")), "")
            if word == "skip":
                back = isinstance(content.get("_skpS"), (int, float)) and content["_skpS"] < 0
                return [f"skip_{'backward' if back else 'forward'}"]
            return [word] if word else []
        return [_WORDS[name]] if name in _WORDS else []

    def _misbehave(self, peer: CompanionPeer, fault: Fault | None) -> None:
        """What becomes of a connection after a fault."""
        if fault is not None and fault.garbage is not None:
            peer.send(fault.garbage)
        if fault is not None and (fault.drop or fault.truncate):
            peer.link.close()

    # -- handshake -------------------------------------------------------------------------------

    def _authenticate(self, peer: CompanionPeer, kind: int, message: dict[Any, Any]) -> None:
        pairing = "pair" if kind in (SETUP_START, SETUP_NEXT) else "verify"
        follows = SETUP_NEXT if pairing == "pair" else VERIFY_NEXT
        data = message.get("_pd")
        try:
            items = hap.read(data if isinstance(data, bytes) else b"")
        except ValueError:
            items = {}
        step = int.from_bytes(items.get(hap.STATE, b"")[:1], "little")
        remember(self.requests, f"{pairing} M{step}")
        self._state.notify()
        begins = kind in (SETUP_START, VERIFY_START)
        sound = (step == 1) == begins and not (
            begins and (hap.METHOD in items) != (pairing == "pair")
        )
        if peer.client is not None or not sound:
            self._complain(peer, f"{pairing} M{step} in a frame {kind:#04x}", drop=True)
            return
        marks = {"pair": ("_pwTy", 1), "verify": ("_auTy", 4)}
        mark, value = marks[pairing]
        if message.get(mark) != value and (begins or pairing == "pair"):
            self._complain(peer, f"{pairing} M{step} without {mark} {value}")
        fault = self._faults.take(pairing, f"{pairing} M{step}")
        if fault is not None:
            self._stopping.wait(fault.delay)
            if fault.status is not None:
                peer.send((follows, {"_em": "Pairing failed", "_ec": fault.status}))
                return
            if _is_bad(fault):
                self._misbehave(peer, fault)
                return
        if pairing == "pair" and not self.identity.allows_pairing:
            peer.send((follows, {"_em": "Pairing not allowed", "_ec": REFUSED}))
            return
        reply = peer.handshakes.answer(data if isinstance(data, bytes) else b"")
        content: dict[str, Any] = {"_pd": bytes(reply)}
        if pairing == "pair" and step == 1 and hap.ERROR not in hap.read(reply):
            content = {"_pd": bytes(reply) + b"\x1b\1\1", "_pwTy": 1}
        with peer.lock:  # nothing of another thread may go out between the last step and the keys
            peer.send(_spoilt((follows, content), fault))
            secret = reply.secret or reply.kept
            if secret is not None:
                theirs, ours = channel_keys(secret, self.protocol)
                peer.wire.secure(Session(ours, theirs, wide=True))
            if reply.secret is not None:
                peer.client = reply.client
            elif reply.kept is not None:
                peer.paired = reply.client
        if reply.kept is not None:
            self.accessory.done(peer)  # it may close the connection much later
        self._misbehave(peer, fault)

    # -- sessions --------------------------------------------------------------------------------

    def _system_info(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any] | None:
        who = content.get("_i")
        peer.installation = who if isinstance(who, str) and who else None
        if peer.installation in self.identity.profile.refused:
            self._complain(peer, f"_systemInfo of {peer.installation}", drop=True)
            return None
        paired = content.get("_idsID")
        if paired not in (peer.client, (peer.client or b"").decode("utf-8", "replace")):
            self._complain(peer, "_systemInfo with another _idsID than that of the pairing")
        for other in self.peers:
            if other is not peer and peer.installation and other.installation == peer.installation:
                self._complain(peer, f"{peer.installation} came again and is thrown out")
                other.link.fail(ConnectionLost(f"{peer.installation} came again"))
        peer.info = content
        return self.identity.system_info(self._state.name, self.port)

    def _session_start(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        number = _number(content.get("_sid"))
        if content.get("_srvT") != codes.SERVICE or number is None or not 0 <= number < 1 << 32:
            raise _Refused("No such service")
        ours = secrets.randbits(32)
        peer.session = ours << 32 | number
        return {"_sid": ours}

    def _session_stop(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        if peer.session is None or content.get("_sid") != peer.session:
            raise _Refused("Invalid SID")
        peer.session = None
        return {}

    def _remote_session(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        if not self.identity.profile.remote_sessions:
            raise _Refused("No request handler", codes.NO_HANDLER)
        peer.remote_session = True
        return content

    def _remote_session_stop(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        peer.remote_session = False
        return {}

    def _interest(self, peer: CompanionPeer, content: dict[str, Any]) -> None:
        wanted, unwanted = (
            [name for name in _list(content.get(key)) if isinstance(name, str)]
            for key in ("_regEvents", "_deregEvents")
        )
        with peer.lock:
            peer.interests.update(wanted)
            peer.interests.difference_update(unwanted)
            now = CompanionView(self._state)
            if "_iMC" in wanted or (wanted and self.quirks.eager):
                peer.told.flags, peer.told.volume = now.flags, now.volume
                peer.send_event("_iMC", {"_mcF": now.flags, "_mcs": now.captions})

    def _in_session(self, peer: CompanionPeer, what: str) -> bool:
        """False if it is to be answered, and nothing done."""
        if peer.session is None:
            self._complain(peer, f"{what} without a session")
        return peer.session is not None

    # -- buttons and touches ---------------------------------------------------------------------

    def _button(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        code, edge = _code(content.get("_hidC")), content.get("_hBtS")
        if code in codes.NO_BUTTONS:
            self._complain(peer, f"_hidC {code}, which is no button")
            return {}
        button = BUTTONS.get(code)
        if button is None or edge not in (codes.DOWN, codes.UP):
            raise _Refused("No such button")
        if not self._in_session(peer, "_hidC"):
            return {}
        if button in ("turn_off", "turn_on"):
            if edge == codes.UP:
                (self._state.sleep if button == "turn_off" else self._state.wake)()
        elif edge == codes.DOWN:
            peer.buttons.add(button)
            self._state.button_down(button)
        elif button not in peer.buttons:
            raise _Refused("It was not down", codes.NOT_DOWN)
        else:
            peer.buttons.discard(button)
            if button in ("volume_up", "volume_down", "mute"):
                self._resend_volume()
            self._state.button_up(button)
        return {}

    def _touch_start(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        sides = content.get("_width"), content.get("_height")
        if not all(isinstance(side, (int, float)) and 0 < side <= codes.PAD for side in sides):
            raise _Refused("No such touch pad")
        peer.pad = True
        return {"_i": 1}

    def _touch_stop(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        peer.pad = False
        return {}

    def _touch(self, peer: CompanionPeer, content: dict[str, Any]) -> None:
        """A swipe is a button; a tap does nothing, and a click comes as a button besides."""
        phase = _number(content.get("_tPh"))
        x, y = (_number(content.get(key)) for key in ("_cx", "_cy"))
        if not peer.pad or phase is None or x is None or y is None:
            self._complain(peer, f"_hidT {content!r}"[:200])
            return
        x, y = (max(0, min(codes.PAD, one)) for one in (x, y))
        self.touches.append((phase, x, y))
        if phase == codes.PRESS:
            peer.touch = x, y
        elif phase == codes.RELEASE and peer.touch is not None:
            (from_x, from_y), peer.touch = peer.touch, None
            button = direction(x - from_x, y - from_y)
            if button is not None:
                self._state.press(button)

    # -- media -----------------------------------------------------------------------------------

    def _media(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        state, word = self._state, MEDIA.get(_code(content.get("_mcc")))
        if word is None:
            raise _Refused("No such command")
        if word == "volume":
            now = CompanionView(state)
            if not now.flags & codes.CONTROLS["volume"] or now.volume is None:
                raise _Refused("No volume")
            return {"_vol": state.volume / 100}
        if word == "set_volume":
            level = content.get("_vol")
            if not isinstance(level, (int, float)) or not 0 <= level <= 1:
                raise _Refused("No such volume")
            if not CompanionView(state).flags & codes.CONTROLS["volume"]:
                raise _Refused("No volume")
            self._resend_volume()
            state.set_volume(round(level * 100, 1))
        elif word == "captions":
            return {"_mcs": state.captions}
        elif word == "set_captions":
            setting = content.get("_mcs")
            if not isinstance(setting, int) or setting not in codes.CAPTIONS.values():
                raise _Refused("No such setting")
            state.set_captions(setting)
        else:
            self._play(word, content.get("_skpS"))
        return {}

    def _play(self, word: str, seconds: Any) -> None:
        """A command for what plays."""
        state = self._state
        if word == "skip":
            if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
                raise _Refused("No such interval")
            word = "skip_backward" if seconds < 0 else "skip_forward"
        if not state.player.takes(word):
            raise _Refused("Nothing that would do it")
        if word in ("skip_forward", "skip_backward"):
            far = abs(seconds)
            (state.skip_forward if word == "skip_forward" else state.skip_backward)(far)
            return
        EFFECTS[word](state)

    def _controls(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        return {"MediaControlFlags": CompanionView(self._state).flags}

    def _now_playing(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        peer.notify("NowPlayingInfo", self._now_playing_info())
        return {}

    def _now_playing_info(self) -> dict[str, Any]:
        return {"NowPlayingInfoKey": companion_text.now_playing(self._state)}

    def _supported_actions(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        peer.notify("SupportedActions", {"GuideSupportedKey": True})
        return {}

    # -- apps, accounts, power -------------------------------------------------------------------

    def _apps(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        return {app.identifier: app.name or "" for app in self._state.apps}

    def _launch(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        app, url = content.get("_bundleID"), content.get("_urlS")
        if not isinstance(app, str) and not isinstance(url, str):
            raise _Refused("Nothing to launch")
        if self._in_session(peer, "_launchApp"):
            try:
                if isinstance(app, str):
                    self._state.launch(app)
                else:
                    self._state.open_url(str(url))
            except ValueError as exc:
                raise _Refused(str(exc)) from exc
        return {}

    def _accounts(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        return dict(self._state.accounts)

    def _switch_account(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        try:
            self._state.switch_account(str(content.get("SwitchAccountID")))
        except ValueError as exc:
            raise _Refused(str(exc)) from exc
        return {}

    def _attention(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any] | None:
        if self.attention == "error":
            raise _Refused("No request handler", codes.NO_HANDLER)
        if self.attention == "never" or (self.attention == "session" and not peer.remote_session):
            return None
        return {"state": CompanionView(self._state).attention}

    # -- text ------------------------------------------------------------------------------------

    def _text_start(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any] | None:
        taken = any(other.text_session is not None for other in self.peers)
        if self.quirks.one_text_session and taken:
            return None
        with peer.lock:
            peer.told.field = self._state.field
            return self._field(peer)

    def _text_stop(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        peer.text_session = None
        return {}

    def _text(self, peer: CompanionPeer, content: dict[str, Any]) -> None:
        state = self._state
        try:
            typed = companion_text.typed(content.get("_tiD"))
        except ValueError as exc:
            self._complain(peer, f"_tiC: {exc}")
            return
        # iPhones do not say for which field (captured): it is the one of their session.
        elsewhere = typed.session is not None and typed.session != peer.text_session
        if peer.text_session is None or elsewhere or state.field is None:
            self._complain(peer, "_tiC for a text field that is not there any more")
            return
        if typed.replaced:
            state.text_set(typed.replaced)
        elif typed.replaced is not None:
            state.text_clear()
        for _ in range(min(typed.deleted, len(state.field.text))):
            state.text_delete()
        if typed.inserted:
            state.text_append(typed.inserted)

    # -- Siri ------------------------------------------------------------------------------------

    def _siri_start(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        self._state.log_command("siri_start")
        self.voice.append([])
        peer.speaks = True
        return {}

    def _siri_stop(self, peer: CompanionPeer, content: dict[str, Any]) -> dict[str, Any]:
        if not peer.speaks:
            raise _Refused("Siri is not listening")
        peer.speaks = False
        self._state.log_command("siri_stop")
        return {}

    def _siri_audio(self, peer: CompanionPeer, content: dict[Any, Any]) -> None:
        data, packets = content.get(3), _list(content.get(5))
        if not peer.speaks or not isinstance(data, bytes):
            self._complain(peer, "_siA without _siriStart")
            return
        for packet in packets:
            place = packet if isinstance(packet, dict) else {}
            size, at = _number(place.get(1)), _number(place.get(2))
            if size is None or at is None or not 0 <= at <= at + size <= len(data):
                self._complain(peer, "_siA with a packet that is not there")
                return
            self.voice[-1].append(data[at : at + size])


class CompanionView:
    """What clients hear of, at one moment.

    Attributes:
        flags: What can be controlled.
        volume: Percent.
        captions: Setting of captions.
        attention: Whether it is awake.
        field: The text field, or None.
        playing: Anything that differs when something else plays.
    """

    def __init__(self, state: State) -> None:
        with state.lock:
            player, item = state.player, state.item
            self.flags = sum(codes.CONTROLS[word] for word in COMMANDS if player.takes(word))
            if item is not None and item.media_type is MediaType.Music:
                self.flags |= codes.CONTROLS["music"]
            if state.volume_control and state.absolute_volume:
                self.flags |= codes.CONTROLS["volume"]
            self.volume: float | None = state.volume if state.tells_volume else None
            self.captions = state.captions
            if state.power is PowerState.Off:
                self.attention = codes.ASLEEP
            else:
                self.attention = codes.SCREENSAVER if state.screensaver else codes.AWAKE
            self.field = state.field
            about = () if item is None else (item.identifier, item.title, item.artist, item.album)
            self.playing = (player.app.identifier, player.device_state, player.speed, *about)


class CompanionPeer(StreamPeer):
    """A client that is connected.

    Attributes:
        wire: What it speaks.
        paired: Its identifier once it has paired on this connection.
        info: What it said of itself, or None before that.
        installation: What it calls its installation, or None.
        session: Both numbers of its session as one, or None.
        remote_session: True once it has said ``TVRCSessionStart``.
        interests: Events that it wants to hear of.
        text_session: What the text field is called now, or None if it does not type.
        pad: True if it has a touch pad.
        touch: Where its finger came down.
        speaks: True between ``_siriStart`` and ``_siriStop``.
        told: What it knows.
    """

    def __init__(
        self, sock: socket.socket, address: tuple[str, int], owner: VirtualCompanion
    ) -> None:  # fmt: skip
        self.paired: bytes | None = None
        self.info: dict[str, Any] | None = None
        self.installation: str | None = None
        self.session: int | None = None
        self.remote_session = False
        self.interests: set[str] = set()
        self.text_session: bytes | None = None
        self.pad = False
        self.touch: tuple[int, int] | None = None
        self.speaks = False
        self.told = CompanionView(owner._state)
        self._quirks = owner.quirks
        self._number = secrets.randbits(31)
        self._late: list[Any] = []
        self.wire = _DeviceWire(owner.quirks)
        super().__init__(
            sock, address, owner, self.wire, None, lambda: owner.quirks.one_byte_writes,
            prepare=self.wire.prepare,
        )  # fmt: skip

    def notify(self, name: str, content: dict[str, Any]) -> None:
        """Send an event to whoever wants to hear of it."""
        if name in self.interests:
            self.send_event(name, content)

    def send_event(self, name: str, content: dict[str, Any]) -> None:
        """Send an event."""
        with self.lock:
            self._number += 1
            event = {"_i": name, "_x": self._number, "_c": content, "_t": EVENT}
            self.send((OPACK, event))

    def answers(self, reply: dict[str, Any], number: Any, fault: Fault | None) -> list[Any]:
        """What leaves when a request is answered."""
        messages: list[Any] = []
        if self._quirks.stray:
            messages.append((OPACK, {"_c": {}, "_t": REPLY, "_x": STRAY}))
        frame = (OPACK, {**reply, "_t": REPLY, "_x": number})
        if fault is not None and fault.later:
            self._late.append(frame)
        else:
            messages += [_spoilt(frame, fault), *self._late]
            self._late = []
        return messages


class _DeviceWire(CompanionWire):
    """Also takes several messages at once, and bytes as they are."""

    def __init__(self, quirks: CompanionQuirks) -> None:
        super().__init__()
        self._quirks = quirks

    def encode(self, message: Any) -> bytes:
        if isinstance(message, list):
            return b"".join(map(self.encode, message))
        if isinstance(message, bytes):
            return message
        if isinstance(message, _Spoilt):
            data = self.encode(message.frame)
            return data[: len(data) // 2] if message.cut else data[:-1] + bytes([data[-1] ^ 1])
        before = b""
        if self._quirks.noop:
            before += super().encode((NO_OP, None))
        if self._quirks.unknown_frames:
            before += super().encode((0x20, {"_i": "unknown"}))
        return before + super().encode(message)


class _Spoilt:
    """A frame that leaves cut short, or with a wrong tag."""

    def __init__(self, frame: Any, cut: bool) -> None:
        self.frame = frame
        self.cut = cut


class _Refused(Exception):
    """A request that is not carried out.

    Args:
        text: Why.
        code: Of the error.
    """

    def __init__(self, text: str, code: int = REFUSED) -> None:
        super().__init__(text)
        self.code = code


def _error(code: int, text: str) -> dict[str, Any]:
    # OPACK has no negative numbers: those of Apple's errors are of 32 bits.
    return {"_ec": code & 0xFFFFFFFF, "_ed": "RPErrorDomain", "_em": text}


def _spoilt(frame: Any, fault: Fault | None) -> Any:
    if fault is None or not (fault.truncate or fault.damage):
        return frame
    return _Spoilt(frame, fault.truncate)


def _is_bad(fault: Fault | None) -> bool:
    """True if nothing is to be done, or answered."""
    if fault is None:
        return False
    return fault.drop or fault.silent or fault.garbage is not None


def _code(value: Any) -> int:
    """A number of a table; 0, which is in none, if it is no number."""
    return _number(value) or 0


def _number(value: Any) -> int | None:
    """A whole number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if math.isfinite(value) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
