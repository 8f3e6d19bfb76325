#!/bin/sh
# The first process of a virtual machine, in its initramfs: goes over to the host's files under a writable layer.
B=/bin/busybox
. /settings # KERNEL_MODULES
$B mkdir -p /proc /sys /dev /lower /upper /root
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev 2>/dev/null
while read -r module; do
    $B insmod "/modules/$module"
done </modules/order
set -e
$B mount -t virtiofs -o ro host /lower
$B mount -t tmpfs -o mode=755,size=75% upper /upper
$B mkdir /upper/files /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root
for folder in proc sys dev run tmp lib/modules; do
    $B mkdir -p "/root/$folder"
done
$B mount -t tmpfs -o mode=755 run /root/run
$B mkdir -p /root/run/vm /root/run/lock
$B cp /bin/busybox /settings /init-guest.sh /command.sh /root/run/vm/
$B mkdir -p "/root/lib/modules/$($B uname -r)"
$B mount -o bind "/root$KERNEL_MODULES" "/root/lib/modules/$($B uname -r)"
for folder in proc sys dev; do
    $B mount -o move "/$folder" "/root/$folder"
done
exec $B switch_root /root /run/vm/busybox sh /run/vm/init-guest.sh
