"""Numbers and names of DMAP beside its tags, for both ends; the tags are in ``dmap_tags.py``.

Source: dumps of Apple's Remote app, and what DACP servers are known to answer.
"""

CONTENT_TYPE = "application/x-dmap-tagged"

HEADERS = [  # of a remote, in this order; devices from tvOS 12.1 on answer no other client
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip"),
    ("Client-DAAP-Version", "3.13"),
    ("Client-ATV-Sharing-Version", "1.2"),
    ("Client-iTunes-Sharing-Version", "3.15"),
    ("User-Agent", "Remote/1021"),
    ("Viewer-Only-Client", "1"),
]

# -- play status ----------------------------------------------------------------------------------

IDLE, LOADING, STOPPED, PAUSED, PLAYING, SEEKING_FORWARD, SEEKING_BACKWARD = 0, 1, 2, 3, 4, 5, 6
"""Player states: caps."""

MUSIC, MOVIE, TV_SHOW = 2, 3, 64  # of the media kinds, those that an Apple TV 3 says
MEDIA_KINDS = {  # cmmk: name of a MediaType
    1: "Unknown",
    MUSIC: "Music",
    MOVIE: "Video",
    4: "Music",  # podcast
    5: "Music",  # audiobook
    7: "Video",  # music video
    8: "TV",
    10: "Music",  # coached audio
    11: "Video",
    12: "Video",
    13: "Video",
    14: "Music",  # ringtone
    17: "Music",  # voice memo
    18: "Video",  # iTunes U
    21: "Music",  # alert tone
    32: "Video",
    36: "Music",
    TV_SHOW: "TV",
}

# -- properties, and the words of controlpromptentry ----------------------------------------------

VOLUME = "dmcp.volume"
POSITION = "dacp.playingtime"  # ms
SHUFFLE = "dacp.shufflestate"
REPEAT = "dacp.repeatstate"

# cmbe: "select", held down, "menu", held down
SELECT, HOLD_SELECT, MENU, TOP_MENU = "select", "contextmenu", "menu", "topmenu"
