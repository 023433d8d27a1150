package stage

import (
	"strconv"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// Account is who a program will be.
type Account struct {
	UID, GID uint64
	Groups   []uint64 // GID first, no duplicates
	Home     string
}

// maxAccounts bounds what is read of an image's passwd or group file, in bytes.
const maxAccounts = 4 << 20

// LookUp turns the user of a Process into numbers, from the passwd and group files that read returns. The rules are those
// of Docker's USER: a number needs no entry, and is never a name; without a group the user's own from passwd, else 0; the groups that
// list the user by name are added unless a group was given or the caller does not want the image's.
func LookUp(u *wire.User, read func(path string) string) (Account, error) {
	name, group := u.Spec, ""
	if i := indexByte(name, ':'); i >= 0 {
		name, group = name[:i], name[i+1:]
	}
	a, login, err := lookUpUser(name, u.MustBeName, read)
	if err != nil {
		return a, err
	}
	var image []uint64
	if group != "" {
		if a.GID, err = lookUpGroup(group, read); err != nil {
			return a, err
		}
	} else if login != "" {
		image = groupsOf(login, read)
	}
	if u.HasGID {
		a.GID = u.GID
	}
	a.add(a.GID)
	if !u.NoImage {
		for _, g := range image {
			a.add(g)
		}
	}
	for _, g := range u.Groups {
		a.add(g)
	}
	return a, nil
}

// lookUpUser finds a user by name or number, and its name. No name at all is root.
func lookUpUser(name string, mustBeName bool, read func(path string) string) (a Account, login string, err error) {
	a.Home = "/"
	number, numeric := parseID(name)
	numeric = (numeric || name == "") && !mustBeName
	if numeric {
		a.UID = number
	}
	found := eachLine(read("/etc/passwd"), func(f []string) bool {
		if len(f) < 6 {
			return true
		}
		// A number is never a name: an image could name its root "1000" (CVE-2016-3697).
		uid, ok := parseID(f[2])
		if !ok || numeric && uid != number || !numeric && f[0] != name {
			return true
		}
		a.UID, login = uid, f[0]
		a.GID, _ = parseID(f[3])
		if f[5] != "" {
			a.Home = f[5]
		}
		return false
	})
	if !found && (!numeric || mustBeName) {
		err = text("unable to find user " + name + ": no matching entries in passwd file")
	}
	return a, login, err
}

// lookUpGroup finds a group by name, unless it is a number.
func lookUpGroup(name string, read func(path string) string) (gid uint64, err error) {
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	found := eachLine(read("/etc/group"), func(f []string) bool {
		if len(f) < 3 || f[0] != name {
			return true
		}
		var ok bool
		gid, ok = parseID(f[2])
		return !ok
	})
	if !found {
		err = text("unable to find group " + name + ": no matching entries in group file")
	}
	return gid, err
}

// groupsOf lists the groups that name a user as a member.
func groupsOf(login string, read func(path string) string) (list []uint64) {
	eachLine(read("/etc/group"), func(f []string) bool {
		if len(f) > 3 && lists(f[3], login) {
			if gid, ok := parseID(f[2]); ok {
				list = append(list, gid)
			}
		}
		return true
	})
	return list
}

func (a *Account) add(gid uint64) {
	for _, g := range a.Groups {
		if g == gid {
			return
		}
	}
	a.Groups = append(a.Groups, gid)
}

// parseID reads a user or group number; the kernel's are 32 bits, and the last one means "no change".
func parseID(s string) (uint64, bool) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == 1<<32-1 {
		return 0, false
	}
	return v, true
}

// lists reports whether name is an element of the comma-separated list.
func lists(list, name string) bool {
	for len(list) > 0 {
		one := list
		if i := indexByte(list, ','); i >= 0 {
			one, list = list[:i], list[i+1:]
		} else {
			list = ""
		}
		if one == name {
			return true
		}
	}
	return false
}

// eachLine calls f with the fields of each line of a passwd-like file until f returns false, and says whether it did.
func eachLine(data string, f func(fields []string) bool) bool {
	for len(data) > 0 {
		line := data
		if i := indexByte(data, '\n'); i >= 0 {
			line, data = data[:i], data[i+1:]
		} else {
			data = ""
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if !f(fields(line)) {
			return true
		}
	}
	return false
}

func fields(line string) []string {
	out := make([]string, 0, 7)
	for {
		i := indexByte(line, ':')
		if i < 0 {
			return append(out, line)
		}
		out = append(out, line[:i])
		line = line[i+1:]
	}
}

// readSmall reads a file of the root that this process is in. One that is missing, not regular or too long counts as
// empty: images without accounts are common, and a pipe in their place must not hang the start.
func readSmall(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxAccounts {
		return ""
	}
	buf := make([]byte, 0, st.Size+1)
	for len(buf) < cap(buf) {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if n <= 0 || err != nil {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return string(buf)
}
