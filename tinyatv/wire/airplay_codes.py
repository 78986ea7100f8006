"""Numbers and names of AirPlay, for both ends."""

# -- bodies ---------------------------------------------------------------------------------------

PLIST = "application/x-apple-binary-plist"
XML_PLIST = "text/x-apple-plist+xml"
OCTETS = "application/octet-stream"
PARAMETERS = "text/parameters"

# -- statuses beyond those of HTTP; 453 and 455 are from RTSP, RFC 2326 ---------------------------

BUSY = 453  # "Not Enough Bandwidth": another sender plays
WRONG_STATE = 455  # "Method Not Valid in This State"
AUTHORIZE = 470  # "Connection Authorization Required": Apple's own

# -- status flags, in the service record and /info ------------------------------------------------

HAS_PASSWORD = 0x80

# -- streams: seen in the SETUP of Apple's senders ------------------------------------------------

STREAM = 130  # type of both; it is data and no media
MEDIA_REMOTE = "1910A70F-DBC0-4242-AF95-115DB30604E1"  # clientTypeUUID: carries MRP
PLAY_QUEUE = "A6B27562-B43A-4F2D-B75F-82391E250194"  # clientTypeUUID: unlocks /command
QUEUE_CONTROL, DATA_CONTROL = 1, 2  # controlType: without a socket, with one

# -- timing: NTP (RFC 5905) in packets of RTP's kind ----------------------------------------------

NTP_EPOCH = 2208988800  # s from 1900 to 1970
TIMING_REQUEST, TIMING_REPLY = b"\x80\xd2", b"\x80\xd3"  # their first bytes
TIMING_SIZE = 32  # bytes of either

# -- what plays -----------------------------------------------------------------------------------

NOW_PLAYING = "kMRMediaRemoteNowPlayingInfo"  # what the keys begin with in a description
