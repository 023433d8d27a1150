# The profile of containers that ask for RuntimeDefault, and of those that ask for nothing where the kernel has AppArmor.
# It lets a program do what its capabilities, its mounts and its seccomp filter let it do, but for the files through which
# a kernel that is shared with others is set up. The process file system and /sys are protected by read-only mounts as well;
# this still holds where a container mounts them anew.
#
# The file next to this one is what the kernel takes. "go generate" makes it.

profile proa-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,

  # Kubernetes' side is unconfined, or has the profile that distributions give to OCI runtimes.
  signal (receive) peer=unconfined,
  signal (receive) peer={runc,crun},
  signal (send,receive) peer=proa-default,
  ptrace (trace,read,tracedby,readby) peer=proa-default,

  deny mount,

  # /proc, without the directories of processes and without the settings of System V IPC, of which every pod has its own.
  deny /proc/* w,
  deny /proc/[^0-9s]*/** w,
  deny /proc/s[^y]*/** w,
  deny /proc/sys?*/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{[^ms],m[^s],ms[^g],s[^eh],se[^m],sh[^m]}** w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # /sys, without the container's control groups.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
