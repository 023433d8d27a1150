// Package stage is what runs inside a container's new namespaces before the user's program: it is told what to make true
// (wire.Launch) over a socket, makes it true, reports, waits for the word, and becomes the program. It runs in a copy of the
// keeper binary that no file system path leads to, on one locked thread, with raw system calls only: no os, no fmt, because
// every page it touches is paid for at every start of a container.
//
// Nothing inside a container root is opened by a path that the container could bend: before pivot_root everything goes
// through openat2 beneath the root's descriptor, mounts are made detached and moved onto descriptors, and after joining a
// running container only descriptors and the container's own view are used. What must not happen, one line per known
// escape of other runtimes:
//
//   - the binary is written from inside (CVE-2019-5736): it is a sealed memory file, and the process is not dumpable;
//   - a mount target is swapped for a link between check and mount (CVE-2021-30465): targets are descriptors;
//   - /proc or /sys in the image is a link (CVE-2019-19921): those two are resolved without following any link;
//   - a descriptor of the host leaks, or the working directory lies outside (CVE-2024-21626): every descriptor above 2 is
//     closed on exec and the working directory is asked for once more;
//   - /dev/null, the source of masks, is not the null device (CVE-2025-31133): it is taken from the host and checked;
//   - a write to a proc file lands elsewhere (CVE-2025-52881): the descriptor has to be on a procfs.
//
// A pod with a user namespace has its stages inside it, where they can make nothing that the host's root has to make. A helper
// (enter.go) makes it before, as detached mounts (mapped.go), joins the namespace and starts the stage with their descriptors. No
// process in the namespace can look into a stage: its binary may be executed there but not read.
//
// It imports keeper/wire and x/sys/unix. Read container.go, then rootfs.go and process.go.
package stage
