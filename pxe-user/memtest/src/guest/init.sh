#!/bin/busybox sh
# The first process of the memory test, and as any other process what udhcpc calls when an address comes or goes.
#
# stressapptest tests all memory that is free, in passes. Its output is read line by line; what it finds is shown on every
# console and posted to pxed (docs/memory-test.md). Nothing here may end: the kernel would stop with it.
#
#   init.sh     drivers, network, from the beginning to the end
#   test.sh     passes, and the errors that they find
#   report.sh   JSON over HTTP
#   show.sh     consoles
#
# shellcheck shell=dash disable=SC1091,SC2034,SC2154 # variables of the other files

/bin/busybox mkdir -p /run /tmp /etc
[ -e /bin/sh ] || /bin/busybox --install -s /bin
export PATH=/bin

# Called by udhcpc with `bound`, `renew`, `deconfig` and the lease in variables of its own: interface, ip, subnet and
# router are theirs, and busybox has checked them.
lease() {
    case "$1" in
        deconfig) ifconfig "$interface" 0.0.0.0 up ;;
        bound | renew)
            ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
            while route del default dev "$interface" 2>/dev/null; do :; done
            for gateway in $router; do route add default gw "$gateway" dev "$interface"; done
            echo "$ip" >"/run/lease.$interface"
            ;;
    esac
}

# The first process may have arguments, too: words of the command line that the kernel does not know.
if [ $$ != 1 ]; then
    lease "$1"
    exit 0
fi

. /lib/pxed/show.sh
. /lib/pxed/report.sh
. /lib/pxed/test.sh

# The Ethernet interfaces that count: the one that the boot server named, or all.
interfaces() {
    for folder in /sys/class/net/*; do
        [ -e "$folder/device" ] || continue
        read -r address <"$folder/address"
        if [ -z "$mac" ] || [ "$address" = "$mac" ]; then echo "${folder##*/}"; fi
    done
}

# Loads what the devices ask for, until they ask for nothing more: a bus that was found brings devices of its own.
load_drivers() {
    # The kernel asks for some by itself: of an Ethernet card for its transceiver.
    echo /bin/modprobe >/proc/sys/kernel/modprobe
    before=
    for _ in $(seq 8); do
        wanted=$({
            find /sys/devices -name modalias -exec cat {} +
            sed -n 's/^MODALIAS=//p' /sys/devices/system/cpu/cpu0/uevent
        } 2>/dev/null | sort -u)
        [ "$wanted" = "$before" ] && [ -n "$(interfaces)" ] && break
        before=$wanted
        echo "$wanted" | tr '\n' '\0' | xargs -0 modprobe -abq 2>/dev/null
        sleep 1
    done
}

# An address for each interface; the test waits half a minute for the first, then begins without.
connect() {
    names=$(interfaces)
    if [ -z "$names" ] && [ -n "$mac" ]; then
        say "there is no network card $mac here: asking on all"
        mac=
        names=$(interfaces)
    fi
    [ -n "$names" ] || say 'there is no network card that this kernel has a driver for: nothing will be reported'
    for name in $names; do
        ifconfig "$name" up
        # It goes on asking until it gets an address, and keeps that for as long as the test runs.
        udhcpc -f -i "$name" -s /init -t 4 -T 2 -A 5 >/dev/null 2>&1 &
    done
    for _ in $(seq 30); do
        for name in $names; do
            if [ -s "/run/lease.$name" ]; then
                identify "$name"
                say "network: $name, $id, $(cat "/run/lease.$name")"
                return
            fi
        done
        [ -n "$names" ] && sleep 1
    done
    for name in $names; do
        identify "$name"
        say "$name, $id, has no address yet; it goes on asking"
        return
    done
}

# The machine is known by the address of its card.
identify() {
    read -r id <"/sys/class/net/$1/address"
}

read_command_line() {
    mac='' server='' seconds='' wanted_passes='' afterwards=stay
    read -r command_line </proc/cmdline
    for word in $command_line; do
        case "$word" in
            pxed.mac=*) mac=$(echo "${word#*=}" | tr 'A-F-' 'a-f:') ;;
            pxed.report=http://*) server=${word#*=} server=${server%/} ;;
            pxed.seconds=*[!0-9]* | pxed.passes=*[!0-9]*) ;;
            pxed.seconds=?*) seconds=${word#*=} ;;
            pxed.passes=?*) wanted_passes=${word#*=} ;;
            pxed.then=*) afterwards=${word#*=} ;;
        esac
    done
    id=$mac
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# Machine checks and the like only: the screen is ours.
dmesg -n 4
read_command_line
prepare_show
prepare_test
say "memory test of $machine"
load_drivers
connect
# Loaded is loaded: the memory of the files can be tested.
rm -rf /lib/modules
test_memory
conclude
case "$afterwards" in
    reboot) reboot -f ;;
    poweroff) poweroff -f ;;
esac
while :; do sleep 3600; done
