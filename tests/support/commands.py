"""Every command of each protocol: (name, arguments, what the device logs), and those that ask."""

from __future__ import annotations

from tinyatv import RepeatState, ShuffleState

NETFLIX = "com.netflix.Netflix"


DMAP_PRESSED = [
    ("up", {}, ["up"]),
    ("down", {"presses": 3}, ["down", "down", "down"]),
    ("left", {}, ["left"]),
    ("right", {"presses": 2}, ["right", "right"]),
    ("up", {"hold": 0.6}, ["up hold"]),
    ("select", {}, ["select"]),
    ("select", {"hold": 1.0}, ["select hold"]),
    ("select", {"presses": 2}, ["select", "select"]),
    ("menu", {}, ["menu"]),
    ("menu", {"hold": 1.0}, ["top_menu"]),
    ("top_menu", {}, ["top_menu"]),
    ("play", {}, ["play"]),
    ("pause", {}, ["pause"]),
    ("play_pause", {}, ["play_pause"]),
    ("stop", {}, ["stop"]),
    ("next", {}, ["next"]),
    ("previous", {}, ["previous"]),
    ("volume_up", {}, ["volume_up"]),
    ("volume_down", {}, ["volume_down"]),
    ("skip_forward", {}, ["set_position 110"]),
    ("skip_forward", {"seconds": 30}, ["set_position 130"]),
    ("skip_forward", {"seconds": 999}, ["set_position 222"]),
    ("skip_backward", {}, ["set_position 90"]),
    ("skip_backward", {"seconds": 999}, ["set_position 0"]),
    ("set_position", {"seconds": 30}, ["set_position 30"]),
    ("set_shuffle", {"shuffle": ShuffleState.Songs}, ["set_shuffle Songs"]),
    ("set_shuffle", {"shuffle": ShuffleState.Off}, ["set_shuffle Off"]),
    ("set_repeat", {"repeat": RepeatState.Track}, ["set_repeat Track"]),
    ("set_repeat", {"repeat": RepeatState.All}, ["set_repeat All"]),
]
DMAP_ASKED = {"playing", "artwork", "volume", "set_volume", "server_info"}


MRP_PRESSED = [
    ("up", {}, ["up"]),
    ("down", {"presses": 3}, ["down", "down", "down"]),
    ("left", {}, ["left"]),
    ("right", {"presses": 2}, ["right", "right"]),
    ("up", {"hold": 0.6}, ["up hold"]),
    ("select", {}, ["select"]),
    ("select", {"hold": 0.6}, ["select hold"]),
    ("menu", {}, ["menu"]),
    ("menu", {"hold": 0.6}, ["menu hold"]),
    ("home", {}, ["home"]),
    ("home", {"presses": 2}, ["home", "home"]),
    ("home", {"hold": 0.6}, ["home hold"]),
    ("top_menu", {}, ["top_menu"]),
    ("suspend", {}, ["suspend"]),
    ("wakeup", {}, ["wakeup"]),
    ("play", {}, ["play"]),
    ("pause", {}, ["pause"]),
    ("play_pause", {}, ["play_pause"]),
    ("stop", {}, ["stop"]),
    ("next", {}, ["next"]),
    ("previous", {}, ["previous"]),
    ("begin_fast_forward", {}, ["fast_forward"]),
    ("end_fast_forward", {}, ["end_seeking"]),
    ("begin_rewind", {}, ["rewind"]),
    ("end_rewind", {}, ["end_seeking"]),
    ("skip_forward", {}, ["skip_forward 10"]),
    ("skip_forward", {"seconds": 30}, ["skip_forward 30"]),
    ("skip_backward", {}, ["skip_backward 10"]),
    ("skip_backward", {"seconds": 7.9}, ["skip_backward 7"]),
    ("set_position", {"seconds": 30.5}, ["set_position 30.5"]),
    *[("set_shuffle", {"shuffle": s}, [f"set_shuffle {s.name}"]) for s in ShuffleState],
    *[("set_repeat", {"repeat": r}, [f"set_repeat {r.name}"]) for r in RepeatState],
    ("volume_up", {}, ["volume_up"]),
    ("volume_down", {}, ["volume_down"]),
    ("set_volume", {"level": 33}, ["set_volume 33"]),
    ("mute", {}, ["set_volume 0"]),
    ("turn_on", {}, ["turn_on"]),
    ("turn_off", {}, ["home hold", "select", "turn_off"]),
]
MRP_ASKED = {
    "playing", "artwork", "volume", "power_state", "output_devices", "add_output_devices",
    "remove_output_devices", "set_output_devices", "text_focus", "text_set", "text_append",
    "text_clear",
}  # fmt: skip


COMPANION_PRESSED = [
    ("up", {}, ["up"]),
    ("down", {"presses": 3}, ["down", "down", "down"]),
    ("left", {}, ["left"]),
    ("right", {"presses": 2}, ["right", "right"]),
    ("up", {"hold": 0.6}, ["up hold"]),
    ("select", {}, ["select"]),
    ("select", {"hold": 0.6}, ["select hold"]),
    ("menu", {}, ["menu"]),
    ("menu", {"hold": 0.6}, ["menu hold"]),
    ("home", {}, ["home"]),
    ("home", {"presses": 2}, ["home", "home"]),
    ("home", {"hold": 0.6}, ["home hold"]),
    ("channel_up", {}, ["channel_up"]),
    ("channel_down", {}, ["channel_down"]),
    ("control_center", {}, ["control_center"]),
    ("guide", {}, ["guide"]),
    ("screensaver", {}, ["screensaver"]),
    ("siri_start", {}, ["siri_start"]),
    ("play", {}, ["play"]),
    ("pause", {}, ["pause"]),
    ("play_pause", {}, ["play_pause"]),
    ("next", {}, ["next"]),
    ("previous", {}, ["previous"]),
    ("begin_fast_forward", {}, ["fast_forward"]),
    ("end_fast_forward", {}, ["end_seeking"]),
    ("begin_rewind", {}, ["rewind"]),
    ("end_rewind", {}, ["end_seeking"]),
    ("skip_forward", {}, ["skip_forward 10"]),
    ("skip_forward", {"seconds": 30.5}, ["skip_forward 30.5"]),
    ("skip_backward", {}, ["skip_backward 10"]),
    ("skip_backward", {"seconds": 7}, ["skip_backward 7"]),
    ("captions", {}, ["set_captions 4"]),
    ("captions", {"mode": "auto"}, ["set_captions 1"]),
    ("captions", {"mode": "on"}, ["set_captions 2"]),
    ("captions", {"mode": "forced"}, ["set_captions 3"]),
    ("volume_up", {}, ["volume_up"]),
    ("volume_down", {}, ["volume_down"]),
    ("set_volume", {"level": 33}, ["set_volume 33"]),
    ("mute", {}, ["set_volume 0"]),
    ("turn_on", {}, ["turn_on"]),
    ("turn_off", {}, ["turn_off"]),
    ("launch", {"target": NETFLIX}, [f"launch_app {NETFLIX}"]),
    ("launch", {"target": "youtube://watch/x,y"}, ["launch_app youtube://watch/x,y"]),
    ("swipe", {"x1": 500, "y1": 900, "x2": 500, "y2": 100, "seconds": 0.05}, ["up"]),
    ("click", {}, ["select"]),
    ("click", {"presses": 2}, ["select", "select"]),
    ("click", {"hold": 0.6}, ["select hold"]),
]
COMPANION_ASKED = {
    "volume", "power_state", "apps", "accounts", "switch_account", "text_focus", "text_get",
    "text_set", "text_append", "text_clear", "touch", "siri_stop",
}  # fmt: skip


AIRPLAY_ASKED = {"play_url"}


RAOP_ASKED = {
    "stream", "stop", "volume", "set_volume", "volume_up", "volume_down", "playing",
}  # fmt: skip
