# Reports: the JSON of pxe-user/fleet/src/report.rs, posted by busybox's wget. Sourced by init.sh.
# shellcheck shell=dash disable=SC2154,SC2034 # variables of the other files

# Errors that have not arrived yet, one JSON object in a line.
ERRORS=/run/errors
ERRORS_MAX=64

# Quoted for JSON; what is not plain ASCII is left out.
quoted() {
    printf '"%s"' "$(tr -cd '\040-\176' | sed 's/[\\"]/\\&/g')"
}

# A field with what a file says, if it says something: "serial":"...",
field_from() {
    text=$(head -c 256 "$2" 2>/dev/null | quoted)
    [ "$text" = '""' ] || printf '"%s":%s,' "$1" "$text"
}

# The SMBIOS structure table, in which the server finds the DIMMs.
smbios() {
    table=/sys/firmware/dmi/tables/DMI
    [ -s $table ] && printf '"smbios":"%s",' "$(head -c 150000 $table | base64 -w 0)"
}

# The sum of a count over all memory controllers; nothing where there is none.
edac() {
    cat /sys/devices/system/edac/mc/mc*/"$1" 2>/dev/null | awk '{ sum += $1 } END { if (NR) print sum }'
}

# Writes a report: compose STAGE PERCENT SENTENCE MORE-FIELDS
compose() {
    printf '{"stage":"%s","source":"pxed memory test","seconds":%d,"percent":%d,' "$1" $((now - began)) "$2"
    printf '"memory":%s,"cpus":%d,"error_count":%d,' $((megabytes * 1048576)) "$cpus" "$errors"
    [ -n "$corrected" ] && printf '"corrected":%d,"uncorrected":%d,' "$corrected" "$uncorrected"
    field_from serial /sys/class/dmi/id/product_serial
    field_from uuid /sys/class/dmi/id/product_uuid
    field_from product /sys/class/dmi/id/product_name
    printf '%s"errors":[%s],"message":%s}' "$4" "$(paste -sd, $ERRORS)" "$(printf %s "$3" | quoted)"
}

# Sends a report, once.
post() {
    compose "$@" >/run/report
    if [ -n "$server" ] && [ -n "$id" ] && timeout 8 wget -q -O /dev/null \
        --header 'Content-Type: application/json' --post-file /run/report "$server/report/v1/$id" 2>/dev/null; then
        : >$ERRORS
        offline=
    else
        offline=yes
        return 1
    fi
}

# Reports: report STAGE PERCENT SENTENCE [MORE-FIELDS]. The start goes first, until it has arrived. What did not arrive is
# in the next report: errors are kept, and all numbers are sums.
report() {
    corrected=$(edac ce_count)
    uncorrected=$(edac ue_count)
    if [ -z "$introduced" ]; then
        post start 0 "tests $megabytes MB on $cpus processors" "$(smbios)" || return 1
        introduced=yes
    fi
    post "$1" "$2" "$3" "$4"
}
