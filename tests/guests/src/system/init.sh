#!/bin/sh
# The first process of a whole system: loads the kernel's modules, and leaves the rest to systemd.
for module in /modules/*.ko; do
    insmod "$module" || echo "init: cannot load $module"
done
# Nobody can move away from the file system that the kernel has unpacked its archive into, and services with a sandbox
# have to: so everything goes on in a mount of the same files.
mount -n --bind / /mnt && cd /mnt && mount -n --move . / && exec chroot . /sbin/init
