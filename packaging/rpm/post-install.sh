# After an installation or an upgrade: the user, its directories, and the unit as it is now. Enables and starts nothing.
systemd-sysusers /usr/lib/sysusers.d/pxed.conf || :
systemd-tmpfiles --create /usr/lib/tmpfiles.d/pxed.conf || :
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
