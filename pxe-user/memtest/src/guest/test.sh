# The test: passes of stressapptest, one behind the other, and what they find. Sourced by init.sh.
# shellcheck shell=dash disable=SC2154,SC2153,SC2034,SC3045 # variables of the other files; `read -t` is in busybox

PASS_SECONDS=600
# Seconds between reports.
TICK=10

prepare_test() {
    version='' corrected='' uncorrected='' offline='' introduced='' progress=''
    # Flags of a page in use, as page_entry() finds them.
    flags=3
    errors=0 passes=0 broken=0 tested=0 percent=0 reserve=0 megabytes=0 error_posted=0
    of=${wanted_passes:+ of $wanted_passes}
    total=$(meminfo MemTotal)
    cpus=$(nproc)
    : >"$ERRORS"
    look_at_clock
    began=$now
    mkfifo /run/pipe
    exec 3<>/run/pipe
    # Pages stay where they are, so that an address is a cell's for as long as a pass lasts.
    echo never >/sys/kernel/mm/transparent_hugepage/enabled
    for setting in kernel/numa_balancing vm/compaction_proactiveness; do
        [ -e /proc/sys/$setting ] && echo 0 >/proc/sys/$setting
    done
}

look_at_clock() {
    read -r uptime _ </proc/uptime
    now=${uptime%.*}
}

# A line of /proc/meminfo, in MB.
meminfo() {
    awk -v name="$1:" '$1 == name { print int($2 / 1024) }' /proc/meminfo
}

# One entry of the tester's page map (Linux, Documentation/admin-guide/mm/pagemap.rst) for a virtual address: 0 without.
page_entry() {
    entry=$(dd if="/proc/$tester/pagemap" bs=8 skip=$(($1 >> 12)) count=1 2>/dev/null | od -An -t x8 | tr -d ' ')
    entry=$((0x${entry:-0}))
    [ $((entry >> 63 & 1)) = 1 ] || entry=0
    [ $entry = 0 ] || flags=$((entry >> 55 & 63))
}

# The physical address of a byte, by its virtual one and by what stressapptest printed.
#
# Up to 1.0.8 (Debian has 1.0.6) it takes flags that Linux 4.3 has put into the page map for the page's size, and prints
# the number of the page shifted by them instead of by 12. So the page map is asked here; when the tester has ended
# meanwhile, its mistake is undone.
physical() {
    page_entry "$1"
    if [ $entry != 0 ]; then
        printf '0x%x' $(((entry & 0x7fffffffffffff) << 12 | $1 & 4095))
        return
    fi
    case "$version" in
        *' 1.0.'[0-8][!0-9]*) printf '0x%x' $((($2 >> flags) << 12 | $1 & 4095)) ;;
        *) printf '0x%x' "$2" ;;
    esac
}

# A processor's number. Up to 1.0.9 its APIC id is printed, `0(0x1)`; later the number itself, `0(<-1)`.
processor() {
    case "$1" in
        *'(0x'*) awk -v id="${1%%\(*}" '/^processor/ { number = $3 }
            /^initial apicid/ && $4 % 256 == id { print number; exit }' /proc/cpuinfo ;;
        *) echo "${1%%\(*}" ;;
    esac
}

# Hardware Error: miscompare on CPU 0(0x1) at 0x7f2b4112c078(0x1617480:DIMM Unknown): read:0x0, reread:0x0 expected:0x8
miscompare() {
    errors=$((errors + 1))
    errors_of_pass=$((errors_of_pass + 1))
    verdict=FAIL
    rest=${1#*miscompare on CPU }
    cpu=$(processor "${rest%% at *}")
    rest=${rest#* at }
    virtual=${rest%%\(*}
    printed=${rest#*\(}
    printed=${printed%%:*}
    actual=${rest#*read:}
    actual=${actual%%,*}
    expected=${rest##*expected:}
    expected=${expected%%[!0-9a-fx]*}
    # The address that is printed is that of 8 bytes; the lowest bad one of them is meant.
    difference=$((actual ^ expected))
    byte=0
    while [ $byte -lt 7 ] && [ $((difference >> 8 * byte & 255)) = 0 ]; do byte=$((byte + 1)); done
    address=$(physical $((virtual + byte)) "$printed")
    if [ "$(wc -l <"$ERRORS")" -lt "$ERRORS_MAX" ]; then
        printf '{"address":"%s","expected":"%s","actual":"%s","cpu":%s}\n' \
            "$address" "$expected" "$actual" "${cpu:-null}" >>"$ERRORS"
    fi
    show_error "ERROR at $address: is $actual, should be $expected"
}

# All memory that is free, less what the kernel needs to go on.
choose_size() {
    megabytes=$(($(meminfo MemAvailable) - 16 - total / 256 - reserve))
    [ "$megabytes" -ge 16 ] || megabytes=16
}

# Should memory run out, stressapptest is the first victim. Its number, its lines and its end come through one pipe.
launch() {
    (
        # shellcheck disable=SC2016 # the inner shell expands them
        sh -c 'echo "pxed-started $$"; echo 1000 >/proc/self/oom_score_adj; exec stressapptest "$@"' \
            sh -W -m "$cpus" -M "$megabytes" -s "$1" 2>&1 </dev/null
        echo "pxed-ended $?"
    ) >/run/pipe &
}

line() {
    case "$1" in
        'pxed-started '*) tester=${1#* } ;;
        'pxed-ended '*) ended=${1#* } ;;
        *'miscompare on CPU '*) miscompare "$1" ;;
        *'SAT revision '*) version="stressapptest ${1#*revision }" version=${version%,*} ;;
        *' allocation at 0x'*) memory=${1##* } memory=${memory%.} ;;
        *'Stats: Found '*' hardware incidents'*) found=${1#*Found } found=${found%% *} ;;
        *'Status: PASS'* | *'Status: FAIL - test discovered'*) complete=yes ;;
        *[!\ ]*) last_words=$1 ;;
    esac
}

# How far, how many errors: every few seconds, and at once when there is an error.
tick() {
    percent=$(((now - pass_began) * 100 / length))
    [ "$percent" -lt 100 ] || percent=99
    [ -n "$memory" ] && page_entry "$memory"
    stage=progress
    [ -s "$ERRORS" ] && stage=error
    report $stage "$percent" "pass $((passes + 1))$of: $percent%, errors: $errors"
    progress=$percent%
    say "pass $((passes + 1))$of: $progress, $(clock), errors: $errors${offline:+ (no report arrives)}"
    next=$((now + TICK))
}

# One pass of so many seconds; true if stressapptest came to its end.
pass() {
    length=$1
    complete='' found=0 errors_of_pass=0 ended='' tester='' memory='' last_words=''
    choose_size
    look_at_clock
    pass_began=$now
    tick
    launch "$length"
    while [ -z "$ended" ]; do
        # A line, or a second of silence.
        if read -r -t 1 text <&3; then line "$text"; fi
        look_at_clock
        if [ "$now" -ge "$next" ] || { [ -s "$ERRORS" ] && [ "$now" -gt "$error_posted" ]; }; then
            tick
            look_at_clock
            error_posted=$now
        fi
    done
    progress=''
    # Of each thread stressapptest shows the first 30 errors, but it counts all.
    [ "$found" -gt "$errors_of_pass" ] && errors=$((errors + found - errors_of_pass)) verdict=FAIL
    [ -n "$complete" ]
}

# The length of the next pass; false when it was the last.
next_length() {
    length=$PASS_SECONDS
    [ -n "$seconds" ] && [ $((seconds - tested)) -lt $length ] && length=$((seconds - tested))
    [ $length -gt 0 ] && { [ -z "$wanted_passes" ] || [ $((passes + broken)) -lt "$wanted_passes" ]; }
}

test_memory() {
    look_at_clock
    began=$now
    while next_length; do
        if pass $length; then
            percent=100
            words="pass $((passes + 1))$of is through, errors: $errors"
            report progress 100 "$words"
            passes=$((passes + 1))
            say "$words"
            tested=$((tested + length))
        else
            broken=$((broken + 1))
            reserve=$((reserve * 2 + 32))
            why="stressapptest ended ($ended) before its time: ${last_words:-it said nothing}"
            report broken "$percent" "$why"
            say "$why"
            sleep $TICK
            look_at_clock
            tested=$((tested + now - pass_began))
        fi
    done
}

# The last report is sent until it arrives.
conclude() {
    pass=true end="done"
    if [ "$errors" -gt 0 ]; then
        verdict=FAIL pass=false words="errors found: $errors"
    elif [ "${uncorrected:-0}" -gt 0 ]; then
        verdict=FAIL pass=false words="errors that the memory controller could not correct: $uncorrected"
    elif [ "$broken" -gt 0 ]; then
        verdict=BROKEN pass=null end=broken words="of $((passes + broken)) passes $broken could not be run"
    else
        verdict=PASS words="nothing was found in $(clock)"
    fi
    until report $end 100 "$words" "\"pass\":$pass," || [ -z "$server" ]; do
        say "$words; no report arrives at $server"
        sleep $TICK
        look_at_clock
    done
    show_verdict "$words"
}
