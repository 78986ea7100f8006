"""What the virtual Apple TV is doing: one state, shown through every protocol at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, Callable

from ..model import App, DeviceState, PowerState, RepeatState, ShuffleState
from ..threads import start
from .contents import ACCOUNTS, APPS, Item, Output, Player, TextField, playlist, speakers

VOLUME_STEP = 5.0
HOLD = 0.5
"""Seconds from which on a button that is kept down counts as held."""
DOUBLE = 0.5
"""Seconds within which a second tap makes a double one."""
SKIP = 10.0
"""Seconds of a skip when the remote does not say how far."""
CLOCK = 0.001
"""Seconds by which the end of an item may be noticed too late."""
FAST = 2.0
"""How many times faster than normal fast forward is."""

ASLEEP = ("volume_up", "volume_down", "mute", "suspend")  # buttons that do not wake it


def direction(across: float, along: float) -> str | None:
    """The button that a swipe is: so far to the right, so far down; None if it is no swipe."""
    if abs(along) > abs(across):
        return "up" if along < 0 else "down"
    if across:
        return "left" if across < 0 else "right"
    return None


class _Change:
    """What :meth:`State.change` gives; each press enters one, and a generator would take longer."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def __enter__(self) -> None:
        self._state._begin()

    def __exit__(self, kind: object, *_: object) -> None:
        self._state._finish(kind is not None)


class State:
    """Everything the device knows, safe for use from any thread.

    Attributes:
        name: What the owner calls the device.
        player: What plays; all of `items`, `device_state`, `shuffle`, `repeat`, `rate` and `app`
            are its own.
        players: The players of all apps that have one, `player` among them.
        volume: Percent.
        volume_control: False if the output has a fixed volume.
        absolute_volume: True if the volume can be asked for and set, as in iTunes; Apple TVs
            only know up and down until they know better.
        relative_volume: False if it cannot be turned up and down by keys.
        tells_volume: False if clients are not told how loud it is, though the output obeys them.
        power: Whether it is awake.
        output: The device itself as an output, in front of the list of `known_outputs`.
        known_outputs: Every output that there is, in use or not.
        outputs: Identifiers of the outputs in use.
        field: The text field that has the focus, or None.
        apps: What is installed.
        accounts: Names of the people who use it, by identifier.
        account: Identifier of the one who does now.
        url: What was opened last, or None.
        screensaver: True while it shows one.
        captions: Setting of captions: 1 automatic, 2 always on, 3 forced ones only.
        held: Buttons that are down now, and since when (monotonic clock).
        log: Commands it was given, in order, for assertions.
        presses: (button, seconds that it was down) of all buttons that came up again.
        gestures: What the presses amount to: ``"up"``, ``"up hold"``, or ``"up double"`` for the
            second of two quick taps. The log calls that one ``"up"``, since not every protocol
            can tell.
        revision: Counts the changes.
        lock: Hold it to read several fields as of one moment.
    """

    def __init__(self, name: str, output_id: str = "") -> None:
        self.name = name
        self.player = Player(playlist(), device_state=DeviceState.Playing)
        self.players = [self.player]
        self.volume = 50.0
        self.volume_control = True
        self.absolute_volume = False
        self.relative_volume = True
        self.tells_volume = True
        self.power = PowerState.On
        self.output = Output(name, output_id)
        self.known_outputs = [self.output, *speakers()]
        self.outputs = [output_id]
        self.field: TextField | None = None
        self.apps = APPS.copy()
        self.accounts = ACCOUNTS.copy()
        self.account = next(iter(ACCOUNTS))
        self.url: str | None = None
        self.screensaver = False
        self.captions = 1
        self.held: dict[str, float] = {}
        self.log: list[str] = []
        self.presses: list[tuple[str, float]] = []
        self.gestures: list[str] = []
        self.revision = 2  # 1 is what some remotes ask with first, and must not block
        self.lock = threading.RLock()
        self._running: dict[str, App] = {}
        self._last_tap: tuple[str, float] | None = None
        self._muted = 0.0  # how loud it was before
        self._changing = 0
        self._changed = threading.Condition(self.lock)  # taken as the lock, which is quicker
        self._due: float | None = None  # when the clock will look again (monotonic)
        self._sooner = threading.Condition(self.lock)  # it has to look before that
        self._watchers: list[Callable[[], object]] = []
        self._recorders: list[Callable[[], object]] = []
        self._clock: threading.Thread | None = None
        self._stopped = False

    # -- life ------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start the clock that goes on to the next item at the end of one."""
        with self._sooner:  # stop() on another thread joins it only once it runs
            self._clock = start(self._run, name)

    def stop(self) -> None:
        """Stop the clock and join it."""
        with self._sooner:
            self._stopped = True
            self._sooner.notify_all()
            clock = self._clock
        if clock is not None:
            clock.join(5)

    def watch(self, watcher: Callable[[], object]) -> None:
        """Call `watcher` after every change, on the thread that made it, with no lock held."""
        self._watchers.append(watcher)

    def record(self, recorder: Callable[[], object]) -> None:
        """Call `recorder` at the end of every change, with the lock held: it misses none.

        A watcher may come too late to see one, for others follow. A recorder sees all of them, in
        order. It must neither block nor change anything.
        """
        self._recorders.append(recorder)

    def unwatch(self, watcher: Callable[[], object]) -> None:
        """Do not call a watcher or recorder any more."""
        for called in (self._watchers, self._recorders):
            if watcher in called:
                called.remove(watcher)

    def change(self) -> _Change:
        """Group changes: the revision moves once, and watchers hear of it once, at the end.

        For ``with``. May be nested; the outermost one counts.
        """
        return _Change(self)

    def _begin(self) -> None:
        self.lock.acquire()
        for player in self.players:
            player.hold_position()
        self._changing += 1

    def _finish(self, failed: bool) -> None:
        try:
            self._changing -= 1
            if failed:
                return
            for player in self.players:
                player.restart_clock()
                app = player.app
                self._running[app.identifier] = app
            if self._changing:
                return
            self.revision += 1
            for recorder in self._recorders:
                recorder()
        finally:
            self.lock.release()
        for watcher in self._watchers.copy():
            watcher()
        with self.lock:
            end = self._end()
            if end is not None and (self._due is None or end < self._due - CLOCK):
                self._sooner.notify_all()  # else it need not hear of every change
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[State], Any], timeout: float = 5.0) -> bool:
        """Block until `condition(state)` is true.

        Args:
            timeout: Seconds.

        Returns:
            False if it did not become true in time.
        """
        with self.lock:
            return self._changed.wait_for(lambda: bool(condition(self)), timeout)

    def notify(self) -> None:
        """Have all callers of :meth:`wait_for` look again."""
        with self.lock:
            self._changed.notify_all()

    def log_command(self, entry: str) -> None:
        """Append to the log and wake all callers of :meth:`wait_for`."""
        with self.lock:
            self.log.append(entry)
            self._changed.notify_all()

    # -- what is playing -------------------------------------------------------------------------

    @property
    def items(self) -> list[Item]:
        """The playlist."""
        return self.player.items

    @items.setter
    def items(self, items: list[Item]) -> None:
        self.player.items = items

    @property
    def device_state(self) -> DeviceState:
        """What the player is doing."""
        return self.player.device_state

    @device_state.setter
    def device_state(self, state: DeviceState) -> None:
        self.player.device_state = state

    @property
    def shuffle(self) -> ShuffleState:
        """Shuffle state."""
        return self.player.shuffle

    @shuffle.setter
    def shuffle(self, shuffle: ShuffleState) -> None:
        self.player.shuffle = shuffle

    @property
    def repeat(self) -> RepeatState:
        """Repeat state."""
        return self.player.repeat

    @repeat.setter
    def repeat(self, repeat: RepeatState) -> None:
        self.player.repeat = repeat

    @property
    def rate(self) -> float:
        """Speed of playback."""
        return self.player.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self.player.rate = rate

    @property
    def item(self) -> Item | None:
        """The item that plays, or None when idle."""
        return self.player.item

    @property
    def position(self) -> float:
        """Seconds from the start of the item, now."""
        with self.lock:
            return self.player.position

    @property
    def app(self) -> App | None:
        """The app that plays, or None when idle."""
        return None if self.player.device_state is DeviceState.Idle else self.player.app

    @app.setter
    def app(self, app: App) -> None:
        with self.change():
            self.player.app = app

    def artwork(self, width: int = 0, height: int = 0) -> bytes:
        """The image of the item, no larger than asked (0: any size); ``b""`` if there is none."""
        item = self.item
        return b"" if item is None else item.image(width, height)

    def update(self, **fields: Any) -> None:
        """Change fields of the playing item: ``update(title="Other")``."""
        item = self.item
        if item is None:
            raise ValueError("nothing is playing")
        for name in fields:
            if name not in vars(item):
                raise ValueError(f"an item has no {name!r}")
        with self.change():
            vars(item).update(fields)

    def _end(self) -> float | None:
        """When the item will be over (monotonic clock); None if it does not play towards that."""
        player, item = self.player, self.item
        if item is None or not item.duration or self.device_state is not DeviceState.Playing:
            return None
        left = item.duration - player.position
        return time.monotonic() + (left / player.rate if player.rate > 0 else left)

    def _run(self) -> None:
        while True:
            with self._sooner:
                if self._stopped:
                    return
                self._due = self._end()
                left = None if self._due is None else self._due - time.monotonic()
                if left is None or left > 0:
                    self._sooner.wait(left)
                    continue
            self._finished()

    def _finished(self) -> None:
        with self.change():
            if self.repeat is not RepeatState.Track:
                self.player.step(1)
            self.player.position = 0.0

    # -- apps ------------------------------------------------------------------------------------

    @property
    def running(self) -> list[App]:
        """Apps that have played something and were not removed."""
        with self.lock:
            for player in self.players:
                app = player.app
                self._running[app.identifier] = app
            return list(self._running.values())

    def find_player(self, app: str) -> Player:
        """The player of an app.

        Args:
            app: Its identifier.

        Raises:
            ValueError: It has none.
        """
        for player in self.players:
            if player.app.identifier == app:
                return player
        raise ValueError(f"no player of {app!r}")

    def add_player(self, player: Player) -> Player:
        """Another app starts to play, or gets ready to, beside the one that does; returns it."""
        with self.change():
            self.players.append(player)
        return player

    def activate(self, player: Player | str | None) -> None:
        """Make another player the one that counts, and pause the one that did.

        Args:
            player: One of `players`, or the identifier of its app; None if nothing plays.
        """
        if isinstance(player, str):
            player = self.find_player(player)
        with self.change():
            if self.player.device_state is DeviceState.Playing:
                self.player.device_state = DeviceState.Paused
            self.player = Player(device_state=DeviceState.Idle) if player is None else player
            if player is not None and player not in self.players:
                self.players.append(player)

    def remove_player(self, app: str) -> None:
        """An app stops to play for good, but goes on running; ValueError if it has no player."""
        player = self.find_player(app)
        with self.change():
            self.players.remove(player)
            if player is self.player:
                self.player = Player(device_state=DeviceState.Idle)

    def remove_app(self, app: str) -> None:
        """An app is closed."""
        with self.change():
            for player in self.players.copy():
                if player.app.identifier == app:
                    self.remove_player(app)
            self._running.pop(app, None)

    def launch(self, app: str) -> None:
        """Start an app; it becomes the one that plays, though it may have nothing to play.

        Args:
            app: Its identifier.

        Raises:
            ValueError: It is not installed.
        """
        found = next((one for one in self.apps if one.identifier == app), None)
        if found is None:
            raise ValueError(f"there is no app {app!r}")
        self.log_command(f"launch_app {app}")
        with self.change():
            self._use_screen()
            if self.player.app.identifier == app and self.app is not None:
                return
            try:
                self.activate(app)
            except ValueError:
                self.activate(Player([], found, device_state=DeviceState.Stopped))

    def open_url(self, url: str) -> None:
        """Open a URL in whatever app is meant for it."""
        self.log_command(f"launch_app {url}")
        with self.change():
            self._use_screen()
            self.url = url

    def switch_account(self, account: str) -> None:
        """Switch to another account; ValueError if there is no such account."""
        if account not in self.accounts:
            raise ValueError(f"there is no account {account!r}")
        self.log_command(f"switch_account {account}")
        with self.change():
            self.account = account

    def enable(self, *commands: str) -> None:
        """Let the app that plays take commands again: ``enable("next")``."""
        with self.change():
            self.player.disabled.difference_update(commands)
            self.player.missing.difference_update(commands)

    def disable(self, *commands: str) -> None:
        """Let the app that plays refuse commands, and say so: ``disable("next")``."""
        with self.change():
            self.player.disabled.update(commands)

    # -- commands: each one is what the word says, and stands in the log -------------------------

    def play(self) -> None:
        self.log_command("play")
        self._set_player(DeviceState.Playing)

    def pause(self) -> None:
        self.log_command("pause")
        self._set_player(DeviceState.Paused)

    def play_pause(self) -> None:
        self.log_command("play_pause")
        playing = self.device_state is DeviceState.Playing
        self._set_player(DeviceState.Paused if playing else DeviceState.Playing)

    def stop_playing(self) -> None:
        self.log_command("stop")
        with self.change():
            self.device_state = DeviceState.Stopped
            self.player.position = 0.0

    def next(self) -> None:
        self.log_command("next")
        with self.change():
            self.player.step(1)
            self.player.position = 0.0

    def previous(self) -> None:
        self.log_command("previous")
        with self.change():
            self.player.step(-1)
            self.player.position = 0.0

    def set_position(self, seconds: float) -> None:
        self.log_command(f"set_position {seconds:g}")
        with self.change():
            self.player.position = seconds

    def skip_forward(self, seconds: float = SKIP) -> None:
        self.log_command(f"skip_forward {seconds:g}")
        with self.change():
            self.player.position += seconds

    def skip_backward(self, seconds: float = SKIP) -> None:
        self.log_command(f"skip_backward {seconds:g}")
        with self.change():
            self.player.position -= seconds

    def fast_forward(self) -> None:
        self.log_command("fast_forward")
        self._seek(FAST)

    def rewind(self) -> None:
        self.log_command("rewind")
        self._seek(-FAST)

    def end_seeking(self) -> None:
        """End :meth:`fast_forward` or :meth:`rewind`, and play on."""
        self.log_command("end_seeking")
        with self.change():
            self.player.rate = 1.0
            if self.device_state is DeviceState.Seeking:
                self.device_state = DeviceState.Playing

    def set_rate(self, rate: float) -> None:
        """Play at another speed: 1.0 is normal."""
        self.log_command(f"set_rate {rate:g}")
        with self.change():
            self.player.rate = rate

    def set_shuffle(self, shuffle: ShuffleState) -> None:
        self.log_command(f"set_shuffle {shuffle.name}")
        with self.change():
            self.player.mix(shuffle)

    def set_repeat(self, repeat: RepeatState) -> None:
        self.log_command(f"set_repeat {repeat.name}")
        with self.change():
            self.repeat = repeat

    def volume_up(self) -> None:
        self.log_command("volume_up")
        self._turn(VOLUME_STEP)

    def volume_down(self) -> None:
        self.log_command("volume_down")
        self._turn(-VOLUME_STEP)

    def mute(self) -> None:
        """Mute the sound; once more, and it is as loud as before."""
        self.log_command("mute")
        before, self._muted = self._muted, self.volume
        self._turn(-self.volume if self.volume else before)

    def set_volume(self, level: float, output: str | None = None) -> None:
        """Set the volume of an output; None is the device itself."""
        self.log_command(f"set_volume {level:g}" + (f" {output}" if output else ""))
        self._set_volume(level, output)

    def wake(self) -> None:
        self.log_command("turn_on")
        self._set_power(PowerState.On)

    def sleep(self) -> None:
        self.log_command("turn_off")
        self._set_power(PowerState.Off)

    def set_captions(self, setting: int) -> None:
        """Show captions: 1 automatically, 2 always, 3 forced ones only, 4 if they are not shown."""
        self.log_command(f"set_captions {setting}")
        with self.change():
            self.captions = setting if setting != 4 else 1 if self.captions == 2 else 2

    def add_outputs(self, *identifiers: str) -> None:
        """Let more outputs sound; those that are not known do not count."""
        self.log_command(" ".join(["add_output_devices", *identifiers]))
        self._use([*self.outputs, *identifiers])

    def remove_outputs(self, *identifiers: str) -> None:
        self.log_command(" ".join(["remove_output_devices", *identifiers]))
        self._use([one for one in self.outputs if one not in identifiers])

    def set_outputs(self, *identifiers: str) -> None:
        self.log_command(" ".join(["set_output_devices", *identifiers]))
        self._use(identifiers)

    def press(self, button: str, action: str = "") -> None:
        """A button without an effect of its own here; `action` is "", "hold" or "double"."""
        self.log_command(f"{button} {action}".rstrip())

    def _set_player(self, player: DeviceState) -> None:
        with self.change():
            self.device_state = player
            self.player.rate = 1.0

    def _seek(self, rate: float) -> None:
        with self.change():
            self.device_state = DeviceState.Seeking
            self.player.rate = rate

    def _turn(self, by: float) -> None:
        if self.relative_volume:
            self._set_volume(self.volume + by)

    def _set_volume(self, level: float, output: str | None = None) -> None:
        if not self.volume_control:
            return
        level = max(0.0, min(100.0, level))
        with self.change():
            if output in (None, "", self.output.identifier):
                self.volume = level
            for one in self.known_outputs:
                if one.identifier == output:
                    one.volume = level

    def _set_power(self, power: PowerState) -> None:
        with self.change():
            self.power = power
            self.screensaver = False
            if power is PowerState.Off and self.device_state is DeviceState.Playing:
                self.device_state = DeviceState.Paused

    def _use_screen(self) -> None:
        """An app comes to the screen: wake up, end the screen saver."""
        if self.power is PowerState.Off or self.screensaver:
            self._set_power(PowerState.On)

    def _use(self, identifiers: Iterable[str]) -> None:
        known = {one.identifier for one in self.known_outputs}
        with self.change():
            self.outputs = [one for one in dict.fromkeys(identifiers) if one in known]

    # -- buttons with two edges ------------------------------------------------------------------

    def button_down(self, button: str) -> None:
        """A button goes down; nothing happens before it comes up again."""
        with self.lock:
            self.held.setdefault(button, time.monotonic())
            self._changed.notify_all()

    def button_up(self, button: str) -> None:
        """A button comes up: log it, and do what it does. One that was not down does nothing."""
        now = time.monotonic()
        with self.lock:
            since = self.held.pop(button, None)
            if since is None:
                return
            self.presses.append((button, now - since))
            before = self.gestures[-1] if self.gestures else ""
            held = now - since > HOLD
            double = not held and self._last_tap is not None and (
                self._last_tap[0] == button and since - self._last_tap[1] <= DOUBLE
            )  # fmt: skip
            self._last_tap = None if held or double else (button, now)
            self.gestures.append(button + (" hold" if held else " double" if double else ""))
        asleep = self.power is PowerState.Off
        effect = EFFECTS.get(button)
        if effect is not None:
            effect(self)
        else:
            self.press(button, "hold" if held else "")
        if button == "suspend":
            self._set_power(PowerState.Off)
        elif button == "screensaver":
            with self.change():
                self.power, self.screensaver = PowerState.On, True
        elif (asleep or self.screensaver) and button not in ASLEEP:
            self._set_power(PowerState.On)
        elif before == "home hold" and button == "select" and not held:
            self.sleep()  # what the control center has first

    def forget_button(self, button: str) -> None:
        """Whoever held it down is gone."""
        with self.lock:
            self.held.pop(button, None)

    # -- text ------------------------------------------------------------------------------------

    @property
    def text(self) -> str | None:
        """What is in the text field; None without one."""
        return None if self.field is None else self.field.text

    def open_field(self, text: str = "", **about: Any) -> None:
        """A text field gets the focus; see :class:`TextField`."""
        with self.change():
            self.field = TextField(text, **about)

    def close_field(self) -> None:
        """The text field is done with."""
        with self.change():
            self.field = None

    def text_set(self, text: str) -> None:
        self.log_command(f"text_set {text}")
        self._type(lambda _: text)

    def text_append(self, text: str) -> None:
        self.log_command(f"text_append {text}")
        self._type(lambda old: old + text)

    def text_delete(self) -> None:
        """Delete the last letter."""
        self.log_command("text_delete")
        self._type(lambda old: old[:-1])

    def text_clear(self) -> None:
        self.log_command("text_clear")
        self._type(lambda _: "")

    def _type(self, edit: Callable[[str], str]) -> None:
        if self.field is not None:
            with self.change():
                self.field.text = edit(self.field.text)


EFFECTS: dict[str, Callable[[State], None]] = {  # button or command: what it does
    "play": State.play,
    "pause": State.pause,
    "play_pause": State.play_pause,
    "stop": State.stop_playing,
    "next": State.next,
    "previous": State.previous,
    "fast_forward": State.fast_forward,
    "rewind": State.rewind,
    "end_seeking": State.end_seeking,
    "volume_up": State.volume_up,
    "volume_down": State.volume_down,
    "mute": State.mute,
    "skip_forward": State.skip_forward,
    "skip_backward": State.skip_backward,
}
