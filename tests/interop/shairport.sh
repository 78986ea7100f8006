#!/bin/bash
# A shairport-sync in a network of its own, with the D-Bus and mDNS that it insists on.
#   unshare -n -m bash shairport.sh FOLDER [CONFIG]   (an ordinary user: unshare -Urnm)
# It writes FOLDER/out.pcm, and FOLDER/ready once it listens on port 5000. It ends with its input.
set -u
folder=$1
config=${2:-/dev/null}
ip link set lo up
ip addr add 10.9.9.1/32 dev lo
mount -t tmpfs none /run
mkdir -p /run/dbus /run/avahi-daemon
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus.sock
cat >/run/dbus.conf <<'END'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/bus.sock</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/></policy></busconfig>
END
cat >/run/avahi.conf <<'END'
[server]
host-name=box
use-ipv4=yes
use-ipv6=no
allow-interfaces=lo
enable-dbus=yes
[wide-area]
enable-wide-area=no
[publish]
publish-hinfo=no
publish-workstation=no
[rlimits]
END
wait_for() { for _ in $(seq 200); do eval "$1" && return 0; sleep 0.05; done; return 1; }
processes=()
trap 'for one in "${processes[@]}"; do kill "$one" 2>/dev/null; done' EXIT
dbus-daemon --config-file=/run/dbus.conf --nofork --nopidfile 2>"$folder/dbus.log" &
processes+=($!)
wait_for '[ -S /run/bus.sock ]'
avahi-daemon -f /run/avahi.conf --no-drop-root --no-chroot --no-rlimits 2>"$folder/avahi.log" &
processes+=($!)
wait_for 'grep -q "startup complete" "$folder/avahi.log"'
shairport-sync -u -c "$config" -a Test -p 5000 -o stdout --metadata-pipename=/run/meta \
    >"$folder/out.pcm" 2>"$folder/shairport.log" &
processes+=($!)
wait_for 'ss -ltn | grep -q ":5000 "' && touch "$folder/ready"
"${@:3}"
code=$?
exit $code
