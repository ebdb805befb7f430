# What people see: the screen (tty0) painted as a whole, lines on all other consoles. Sourced by init.sh.
# shellcheck shell=dash disable=SC2154 # variables of the other files

# The first errors, for the screen.
SHOWN=/run/shown
SHOWN_MAX=6

prepare_show() {
    read -r consoles </sys/class/tty/console/active
    : >$SHOWN
    id_of=/sys/class/dmi/id
    machine=$(cat $id_of/sys_vendor $id_of/product_name $id_of/product_serial 2>/dev/null |
        tr -cd '\040-\176\n' | paste -sd' ' -)
    last='' verdict=''
}

# A line on every console; on the screen it is the last one.
say() {
    last=$1
    for console in $consoles; do
        [ "$console" = tty0 ] || printf 'pxed: %s\r\n' "$1" >"/dev/$console"
    done
    paint
}

# An error's line: the first few stay on the screen.
show_error() {
    [ "$(wc -l <$SHOWN)" -lt $SHOWN_MAX ] && echo "  $1" >>$SHOWN
    say "$1"
}

# The verdict on every console, in letters that can be read from the other end of the room.
show_verdict() {
    say "VERDICT: $verdict: $1"
    for console in $consoles; do
        [ "$console" = tty0 ] || banner | sed 's/$/\r/' >"/dev/$console"
    done
}

banner() {
    case "$verdict" in
        PASS) cat <<'END' ;;

  PPPPPP      AAA      SSSSS    SSSSS
  PP   PP    AA AA    SS       SS
  PPPPPP    AA   AA    SSSSS    SSSSS
  PP        AAAAAAA        SS       SS
  PP        AA   AA    SSSSS    SSSSS

END
        FAIL) cat <<'END' ;;

  FFFFFFF     AAA     IIIIII   LL
  FF         AA AA      II     LL
  FFFFF     AA   AA     II     LL
  FF        AAAAAAA     II     LL
  FF        AA   AA   IIIIII   LLLLLLL

END
        BROKEN) printf '\n  NO RESULT: the test could not run\n\n' ;;
        *) printf '\n  testing\n\n' ;;
    esac
}

colour() {
    case "$verdict" in
        PASS) printf '\033[1;32m' ;;
        FAIL | BROKEN) printf '\033[1;31m' ;;
        *) printf '\033[1;37m' ;;
    esac
}

paint() {
    case " $consoles " in *' tty0 '*) ;; *) return ;; esac
    {
        printf '\033[0m\033[H\033[2J  pxed memory test, with %s\n\n' "${version:-stressapptest}"
        printf '  machine    %s\n' "$machine"
        printf '  memory     %s MB of %s MB, on %s processors\n' "$megabytes" "$total" "$cpus"
        printf '  time       %s, %s passes%s done%s\n' "$(clock)" "$passes" "$of" "${progress:+, $progress of the next}"
        printf '  errors     %s' "$errors"
        [ -n "$corrected" ] && printf ', by ECC: %s corrected, %s uncorrected' "$corrected" "$uncorrected"
        printf '\n  reports    %s' "${server:-to nobody: there is no pxed.report= on the command line}"
        [ -n "$server" ] && [ -n "$offline" ] && printf ' (does not answer)'
        printf '\n'
        colour
        banner
        printf '\033[0m'
        cat $SHOWN
        printf '\n  %s\n' "$last"
    } >/dev/tty0
}

# Hours, minutes and seconds of the test.
clock() {
    printf '%d:%02d:%02d' $(((now - began) / 3600)) $(((now - began) / 60 % 60)) $(((now - began) % 60))
}
