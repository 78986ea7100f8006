"""Numbers and names of Companion, for both ends.

Where nothing else is said, they were seen in what Apple's own remotes and devices send.
"""

SERVICE = "com.apple.tvremoteservices"  # _srvT of a session
TEXT_ARCHIVER = "RTIKeyedArchiver"  # of the archives of text fields
STATUS_EVENTS = ("SystemStatus", "TVSystemStatus")  # of power; newer systems send both

NO_HANDLER = 58822  # _ec, "No request handler": the system is too old for the request
NOT_DOWN = 1337  # _ec: a button comes up that was not down; known of a simulator only

# -- buttons: _hidC -------------------------------------------------------------------------------

DOWN, UP = 1, 2  # _hBtS

BUTTONS = {
    "up": 1,
    "down": 2,
    "left": 3,
    "right": 4,
    "menu": 5,
    "select": 6,
    "home": 7,
    "volume_up": 8,
    "volume_down": 9,
    "siri": 10,
    "screensaver": 11,
    "turn_off": 12,  # acts when it comes up, as turn_on does
    "turn_on": 13,
    "play_pause": 14,
    "channel_up": 15,
    "channel_down": 16,
    "guide": 17,
    "mute": 18,  # so does the Control Center of iOS 26 (captured); once taken for page up
    "power": 19,  # likewise; once taken for page down
    "control_center": 19,  # which is what it does on the screen
    "skip_forward": 20,
    "skip_backward": 21,
    "back": 22,
    "exit": 23,
    "info": 24,
    "captions": 25,
    "accessibility": 26,
    "input": 27,
}
NO_BUTTONS = (29, 30)  # mute and power in a numbering that is not of the wire: nothing happens

# -- media commands: _mcc -------------------------------------------------------------------------

PLAY = 1
PAUSE = 2
NEXT = 3
PREVIOUS = 4
GET_VOLUME = 5  # -> _vol: 0 to 1
SET_VOLUME = 6  # _vol
SKIP_BY = 7  # _skpS: seconds, negative goes back
BEGIN_FAST_FORWARD = 8
END_FAST_FORWARD = 9
BEGIN_REWIND = 10
END_REWIND = 11
GET_CAPTIONS = 12  # -> _mcs
SET_CAPTIONS = 13  # _mcs

CAPTIONS = {"auto": 1, "on": 2, "forced": 3, "toggle": 4}  # _mcs

CONTROLS = {  # what can be controlled now: bits of _mcF and MediaControlFlags
    "play": 0x0001,
    "pause": 0x0002,
    "next": 0x0004,  # in the order of the commands; one description has it the other way round
    "previous": 0x0008,
    "fast_forward": 0x0010,
    "rewind": 0x0020,
    "music": 0x00C0,  # two bits of unknown meaning, seen with music and not with videos
    "volume": 0x0100,
    "skip_forward": 0x0200,
    "skip_backward": 0x0400,
}

# -- power: state of FetchAttentionState and of STATUS_EVENTS -------------------------------------

ASLEEP, SCREENSAVER, AWAKE, IDLE = 1, 2, 3, 4

# -- touches: _hidT -------------------------------------------------------------------------------

PAD = 1000  # points; width and height of a touchpad
PRESS, HOLD, RELEASE, CLICK = 1, 3, 4, 5  # _tPh; HOLD is a finger that moves, too
