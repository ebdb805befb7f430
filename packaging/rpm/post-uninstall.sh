# After a removal ($1 = 0) or an upgrade (1). An upgrade restarts a service that runs: it hands its transfers over. State and
# log stay, since rpm has no purge; the user stays, as it does on Debian.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart pxed.service 'pxed@*.service' || :
    fi
fi
