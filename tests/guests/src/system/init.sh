#!/bin/sh
# The first process of the system: loads the kernel's modules, then starts systemd.
for module in /modules/*.ko; do
    insmod "$module" || echo "init: cannot load $module"
done
# pivot_root does not work on the kernel's initial file system, and services with a sandbox need it. So systemd runs in a
# bind mount of the same files.
mount -n --bind / /mnt && cd /mnt && mount -n --move . / && exec chroot . /sbin/init
