#!/bin/sh
# Goes on as the first process on the host's files: mounts what tests need, runs the command, hands over what it left.
B=/run/vm/busybox
$B mkdir -p /dev/pts /dev/shm /run/vm/report
$B mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$B mount -t tmpfs -o mode=1777 shm /dev/shm
$B ln -sf /proc/self/fd /dev/fd
$B ln -sf fd/0 /dev/stdin
$B ln -sf fd/1 /dev/stdout
$B ln -sf fd/2 /dev/stderr
$B mount -t tracefs tracefs /sys/kernel/tracing
$B mount -t debugfs debugfs /sys/kernel/debug
$B mount -t bpf bpf /sys/fs/bpf
$B mount -t cgroup2 cgroup2 /sys/fs/cgroup
$B hostname vm
$B ifconfig lo 127.0.0.1 up
for port in /sys/class/virtio-ports/*; do
    $B ln -sf "/dev/${port##*/}" "/run/vm/port-$($B cat "$port/name")"
done

echo "booted" >/run/vm/port-status
/bin/sh /run/vm/command.sh </dev/null >/run/vm/port-output 2>&1
status=$?
[ -e /run/vm/report/report.json ] && $B cat /run/vm/report/report.json >/run/vm/port-report
echo "exit $status" >/run/vm/port-status
$B sync
$B poweroff -f
