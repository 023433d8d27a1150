package wire

// Launch is what the first stage of a container makes true before it becomes the user's program: the root file system,
// the mounts, and the process. It holds no decisions: the daemon made them all (runtime/oci).
type Launch struct {
	Root     Root
	Mounts   []Mount
	Devices  []Device
	Masked   []string // paths hidden below an empty file or directory
	ReadOnly []string // paths made read-only
	Sysctls  []KeyValue
	Hostname string
	CgroupNS bool // a cgroup namespace of its own, entered after the process was moved to its cgroup
	Process  Process

	IDs    IDMap    // the pod's user namespace; the root file system is shown through it
	Mapped []uint64 // indexes of the Mounts that are shown through it, too
}

// IDMap is a user namespace: users and groups 0 to Size-1 of it are UID and GID and those after them on the host. Size 0: the host's
// own namespace.
type IDMap struct{ UID, GID, Size uint64 }

func (m IDMap) encode(e *Encoder) {
	e.Uint(m.UID)
	e.Uint(m.GID)
	e.Uint(m.Size)
}

func (m *IDMap) decode(d *Decoder) { m.UID, m.GID, m.Size = d.Uint(), d.Uint(), d.Uint() }

// Root is the container's root file system.
type Root struct {
	Lower       []string // overlay layers, top first
	Upper, Work string   // both empty: the overlay is read-only
	Dir         string   // instead of an overlay: a directory, bound as it is
	At          string   // an existing empty directory on the host over which the root is first mounted, in the new mount namespace only
	ReadOnly    bool
	Data        string // more overlay options, comma-separated
}

// Propagation of a mount.
const (
	PropagatePrivate = 0
	PropagateSlave   = 1
	PropagateShared  = 2
)

// Mount is one mount in the container.
type Mount struct {
	Target string // path in the container
	FSType string // empty: bind Source
	Source string // path on the host, or the name the file system shows
	Data   string // file system options, comma-separated

	Attr        uint64 // MOUNT_ATTR_*: nosuid, nodev, noexec, rdonly, access times
	Recursive   bool   // bind with all mounts below
	RecursiveRO bool   // apply MOUNT_ATTR_RDONLY to those below as well
	Propagation uint64
	Lower       []string // FSType "overlay": layers of an image volume, top first, read-only
	SubPath     string   // bind of a part of Lower
	Optional    bool     // leave out when the kernel refuses (a v1 controller that is gone, mqueue)
}

// Device is a device node to be made.
type Device struct {
	Path     string
	Mode     uint64 // type and permissions
	Major    uint64
	Minor    uint64
	UID, GID uint64
}

// Process is the user's program and what it may do.
type Process struct {
	Args []string
	Env  []string
	Cwd  string
	User User

	TTY           bool
	Width, Height uint64

	Caps       Caps
	NoNewPrivs bool
	Seccomp    []byte // struct sock_filter, 8 bytes each; empty: none
	SecFlags   uint64 // flags of seccomp(2)
	Rlimits    []Rlimit

	OOMScore    int64
	HasOOMScore bool
	AppArmor    string
	SELinux     string
	Umask       uint64
	HasUmask    bool
	CwdStrict   bool // the working directory has to exist already
}

// User says who the process is. Names are looked up in the container's own passwd and group files.
type User struct {
	Spec       string   // "", "user", "uid", "user:group", "uid:gid"
	Groups     []uint64 // further groups
	NoImage    bool     // leave out what the container's group file says of the user
	HasGID     bool     // GID overrides
	GID        uint64
	MustBeName bool // Spec is a name and has to be found
}

// Caps are capability sets as bit masks, bit n for capability n.
type Caps struct {
	Bounding, Permitted, Effective, Inheritable, Ambient uint64
}

// Rlimit is one resource limit.
type Rlimit struct{ Kind, Soft, Hard uint64 }

func (m Launch) Encode() []byte {
	var e Encoder
	r := m.Root
	e.Strings(r.Lower)
	e.String(r.Upper)
	e.String(r.Work)
	e.String(r.Dir)
	e.String(r.At)
	e.Bool(r.ReadOnly)
	e.String(r.Data)
	e.Uint(uint64(len(m.Mounts)))
	for _, x := range m.Mounts {
		x.encode(&e)
	}
	e.Uint(uint64(len(m.Devices)))
	for _, x := range m.Devices {
		e.String(x.Path)
		e.Uint(x.Mode)
		e.Uint(x.Major)
		e.Uint(x.Minor)
		e.Uint(x.UID)
		e.Uint(x.GID)
	}
	e.Strings(m.Masked)
	e.Strings(m.ReadOnly)
	encodeKVs(&e, m.Sysctls)
	e.String(m.Hostname)
	e.Bool(m.CgroupNS)
	m.Process.encode(&e)
	m.IDs.encode(&e)
	encodeUints(&e, m.Mapped)
	return e.Take()
}

func DecodeLaunch(b []byte) (m Launch, err error) {
	d := NewDecoder(b)
	r := &m.Root
	r.Lower = d.Strings()
	r.Upper = d.String()
	r.Work = d.String()
	r.Dir = d.String()
	r.At = d.String()
	r.ReadOnly = d.Bool()
	r.Data = d.String()
	m.Mounts = make([]Mount, d.Count())
	for i := range m.Mounts {
		m.Mounts[i].decode(d)
	}
	m.Devices = make([]Device, d.Count())
	for i := range m.Devices {
		m.Devices[i] = Device{d.String(), d.Uint(), d.Uint(), d.Uint(), d.Uint(), d.Uint()}
	}
	m.Masked = d.Strings()
	m.ReadOnly = d.Strings()
	m.Sysctls = decodeKVs(d)
	m.Hostname = d.String()
	m.CgroupNS = d.Bool()
	m.Process.decode(d)
	m.IDs.decode(d)
	m.Mapped = decodeUints(d)
	return m, d.Err()
}

func (m Mount) encode(e *Encoder) {
	e.String(m.Target)
	e.String(m.FSType)
	e.String(m.Source)
	e.String(m.Data)
	e.Uint(m.Attr)
	e.Bool(m.Recursive)
	e.Bool(m.RecursiveRO)
	e.Uint(m.Propagation)
	e.Strings(m.Lower)
	e.String(m.SubPath)
	e.Bool(m.Optional)
}

func (m *Mount) decode(d *Decoder) {
	m.Target = d.String()
	m.FSType = d.String()
	m.Source = d.String()
	m.Data = d.String()
	m.Attr = d.Uint()
	m.Recursive = d.Bool()
	m.RecursiveRO = d.Bool()
	m.Propagation = d.Uint()
	m.Lower = d.Strings()
	m.SubPath = d.String()
	m.Optional = d.Bool()
}

func (m Process) encode(e *Encoder) {
	e.Strings(m.Args)
	e.Strings(m.Env)
	e.String(m.Cwd)
	e.String(m.User.Spec)
	encodeUints(e, m.User.Groups)
	e.Bool(m.User.NoImage)
	e.Bool(m.User.HasGID)
	e.Uint(m.User.GID)
	e.Bool(m.User.MustBeName)
	e.Bool(m.TTY)
	e.Uint(m.Width)
	e.Uint(m.Height)
	e.Uint(m.Caps.Bounding)
	e.Uint(m.Caps.Permitted)
	e.Uint(m.Caps.Effective)
	e.Uint(m.Caps.Inheritable)
	e.Uint(m.Caps.Ambient)
	e.Bool(m.NoNewPrivs)
	e.Bytes(m.Seccomp)
	e.Uint(m.SecFlags)
	e.Uint(uint64(len(m.Rlimits)))
	for _, r := range m.Rlimits {
		e.Uint(r.Kind)
		e.Uint(r.Soft)
		e.Uint(r.Hard)
	}
	e.Int(m.OOMScore)
	e.Bool(m.HasOOMScore)
	e.String(m.AppArmor)
	e.String(m.SELinux)
	e.Uint(m.Umask)
	e.Bool(m.HasUmask)
	e.Bool(m.CwdStrict)
}

func (m *Process) decode(d *Decoder) {
	m.Args = d.Strings()
	m.Env = d.Strings()
	m.Cwd = d.String()
	m.User = User{d.String(), decodeUints(d), d.Bool(), d.Bool(), d.Uint(), d.Bool()}
	m.TTY = d.Bool()
	m.Width = d.Uint()
	m.Height = d.Uint()
	m.Caps = Caps{d.Uint(), d.Uint(), d.Uint(), d.Uint(), d.Uint()}
	m.NoNewPrivs = d.Bool()
	m.Seccomp = d.Bytes()
	m.SecFlags = d.Uint()
	m.Rlimits = make([]Rlimit, d.Count())
	for i := range m.Rlimits {
		m.Rlimits[i] = Rlimit{d.Uint(), d.Uint(), d.Uint()}
	}
	m.OOMScore = d.Int()
	m.HasOOMScore = d.Bool()
	m.AppArmor = d.String()
	m.SELinux = d.String()
	m.Umask = d.Uint()
	m.HasUmask = d.Bool()
	m.CwdStrict = d.Bool()
}
