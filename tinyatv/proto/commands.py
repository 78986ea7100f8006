"""Numbers inside MRP messages, for both ends; the kinds of messages are in the package itself.

Source: the enumerations Command, PlaybackState, RepeatMode, ShuffleMode, MediaType, ActionType,
KeyboardState, SendError, HandlerReturnStatus and VolumeCapabilities of the messages' definition.
"""

from __future__ import annotations

EPOCH = 978307200  # s; Unix time of 2001-01-01, from which devices count
DEFAULT_PLAYER = "MediaRemote-DefaultPlayer"  # of an app that does not name its players

# -- commands: of SEND_COMMAND, and of the CommandInfo of what can be done now ---------------------

PLAY = 1
PAUSE = 2
PLAY_PAUSE = 3
STOP = 4
NEXT = 5
PREVIOUS = 6
ADVANCE_SHUFFLE = 7
ADVANCE_REPEAT = 8
BEGIN_FAST_FORWARD = 9
END_FAST_FORWARD = 10
BEGIN_REWIND = 11
END_REWIND = 12
SKIP_FORWARD = 18
SKIP_BACKWARD = 19
SET_RATE = 20
NEXT_IN_CONTEXT = 34
PREVIOUS_IN_CONTEXT = 35
SET_POSITION = 45
SET_REPEAT = 46
SET_SHUFFLE = 47
SET_QUEUE = 48
ENABLE_LANGUAGE = 53
DISABLE_LANGUAGE = 54
REORDER_QUEUE = 55
REMOVE_FROM_QUEUE = 56
PLAY_FROM_QUEUE = 57
PREPARE_QUEUE = 58

_SETS = (EPOCH, DEFAULT_PLAYER)
NAMES = {n: name.lower() for name, n in globals().items() if name.isupper() and n not in _SETS}

# -- what plays ------------------------------------------------------------------------------------

STATE_UNKNOWN = 0
STATE_PLAYING = 1
STATE_PAUSED = 2
STATE_STOPPED = 3
STATE_INTERRUPTED = 4  # while it loads, too
STATE_SEEKING = 5

MEDIA_UNKNOWN = 0
MEDIA_AUDIO = 1
MEDIA_VIDEO = 2

# 0 is unknown in both, as for every enumeration of MRP.
SHUFFLE_MODES = {"Off": 1, "Albums": 2, "Songs": 3}  # name of a ShuffleState: mode
REPEAT_MODES = {"Off": 1, "Track": 2, "All": 3}  # name of a RepeatState: mode

# -- volume, text ----------------------------------------------------------------------------------

RELATIVE, ABSOLUTE = 1, 2  # bits of the volume capabilities

TEXT_INSERT, TEXT_SET, TEXT_DELETE, TEXT_CLEAR = 1, 2, 3, 4  # actionType of TEXT_INPUT
NOT_EDITING, DID_BEGIN, EDITING, TEXT_CHANGED, DID_END = 1, 2, 3, 4, 5  # state of KEYBOARD

# -- refusals --------------------------------------------------------------------------------------

NO_APP = 1
NO_CONNECTION = 2
IGNORED = 3
CANNOT_START = 4
NO_ANSWER = 5
NO_ORIGIN = 6
INVALID_OPTIONS = 7
NO_HANDLERS = 8
NOT_INSTALLED = 9
NOT_SUPPORTED = 10

HANDLER_FAILED, NOTHING_PLAYS = 2, 10  # handlerReturnStatus

NOT_PAIRED = 110  # errorCode of a message: CryptoPairing is needed first
