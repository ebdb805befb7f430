# Before a removal ($1 = 0), not before an upgrade (1).
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now pxed.service || :
    systemctl stop 'pxed@*.service' || :
fi
