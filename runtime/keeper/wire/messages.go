package wire

// Kinds of frames. The first frame on a connection asks; KindOK or KindError answers. After the answer to KindWatch,
// KindExec and KindAttach the connection carries a stream of frames.
const (
	KindSetup  = 'S' // Setup, once, on the connection that the keeper is born with; then that connection watches
	KindWatch  = 'w' // nothing: answered by a KindState for every container, KindOK, then a KindState for every change
	KindCreate = 'c' // Create -> Created
	KindStart  = 's' // Ref: let a created container run
	KindSignal = 'k' // Signal
	KindForget = 'f' // Ref: drop a container that has ended, and its exit record
	KindExec   = 'x' // Exec -> Created, then streams
	KindAttach = 'a' // Attach, then streams
	KindResize = 'r' // Resize, also as a frame inside a stream (then without an ID)
	KindReopen = 'l' // Ref: open the log file anew by its path, after it was renamed
	KindStop   = 'q' // nothing: kill every container, answer, exit

	KindEnter = 'n' // Enter -> Created; only between a keeper and the helper that goes into a user namespace for it

	KindOK    = 'O'
	KindError = 'E' // text
	KindState = 'T' // State

	KindStdin    = '0' // bytes; empty means end of input
	KindStdout   = '1' // bytes
	KindStderr   = '2' // bytes
	KindExecExit = 'X' // Int: exit code; the last frame of an exec stream
)

// Ref names a container.
type Ref struct{ ID string }

// Encode returns the message's bytes; so do the Encode methods below.
func (m Ref) Encode() []byte { var e Encoder; e.String(m.ID); return e.Take() }

// DecodeRef reads what Ref.Encode wrote; so do the Decode functions below for their types.
func DecodeRef(b []byte) (m Ref, err error) {
	d := NewDecoder(b)
	m.ID = d.String()
	return m, d.Err()
}

// Setup is what a keeper does before anything else, inside the pod's namespaces it was cloned into.
type Setup struct {
	Version  uint64
	ID       string     // the sandbox, for the process title
	Dir      string     // its directory: exit records are written to Dir/exit/<container>
	Hostname string     // empty: leave
	Sysctls  []KeyValue // name with dots or slashes
	Loopback bool       // bring lo up
	SharePID bool       // all containers of the pod share one PID namespace, with the keeper's reaper as its first process
	OOMScore int64      // oom_score_adj of the keeper
	IDs      IDMap      // the pod's user namespace, of which the keeper was given a descriptor
}

// KeyValue is one setting.
type KeyValue struct{ Key, Value string }

func (m Setup) Encode() []byte {
	var e Encoder
	e.Uint(m.Version)
	e.String(m.ID)
	e.String(m.Dir)
	e.String(m.Hostname)
	encodeKVs(&e, m.Sysctls)
	e.Bool(m.Loopback)
	e.Bool(m.SharePID)
	e.Int(m.OOMScore)
	m.IDs.encode(&e)
	return e.Take()
}

func DecodeSetup(b []byte) (m Setup, err error) {
	d := NewDecoder(b)
	m.Version = d.Uint()
	m.ID = d.String()
	m.Dir = d.String()
	m.Hostname = d.String()
	m.Sysctls = decodeKVs(d)
	m.Loopback = d.Bool()
	m.SharePID = d.Bool()
	m.OOMScore = d.Int()
	m.IDs.decode(d)
	return m, d.Err()
}

// PID namespaces a container can get.
const (
	PIDOwn    = 0 // a new one
	PIDPod    = 1 // the pod's shared one, or the keeper's own when the pod uses the host's
	PIDTarget = 2 // that of another container of the pod
)

// Create starts the first stage of a container and takes it up to the point before the user's program.
type Create struct {
	ID        string
	Log       string // path of the CRI log file; empty: output is dropped unless somebody is attached
	Stdin     bool   // keep a pipe open for attach
	StdinOnce bool   // close it when the first attach ends
	TTY       bool
	PIDMode   uint64
	PIDTarget string // container ID, for PIDTarget

	CgroupDir   string   // cgroup v2 directory to be cloned into; empty: none
	CgroupProcs []string // cgroup v1 files to write the process ID to
	OOMCounter  string   // file with a line "oom_kill N", read when the container ends
	KillFile    string   // cgroup.kill of the container, written when its first process has ended but others may remain

	Launch []byte // an encoded Launch for the built-in first stage

	External []string // or: a command like "runc create ..." that leaves a process whose ID is in PIDFile
	PIDFile  string
	Release  []string // the command that lets it run, like "runc start <id>"
	Console  string   // unix socket on which the command hands over the terminal
}

func (m Create) Encode() []byte {
	var e Encoder
	e.String(m.ID)
	e.String(m.Log)
	e.Bool(m.Stdin)
	e.Bool(m.StdinOnce)
	e.Bool(m.TTY)
	e.Uint(m.PIDMode)
	e.String(m.PIDTarget)
	e.String(m.CgroupDir)
	e.Strings(m.CgroupProcs)
	e.String(m.OOMCounter)
	e.String(m.KillFile)
	e.Bytes(m.Launch)
	e.Strings(m.External)
	e.String(m.PIDFile)
	e.Strings(m.Release)
	e.String(m.Console)
	return e.Take()
}

func DecodeCreate(b []byte) (m Create, err error) {
	d := NewDecoder(b)
	m.ID = d.String()
	m.Log = d.String()
	m.Stdin = d.Bool()
	m.StdinOnce = d.Bool()
	m.TTY = d.Bool()
	m.PIDMode = d.Uint()
	m.PIDTarget = d.String()
	m.CgroupDir = d.String()
	m.CgroupProcs = d.Strings()
	m.OOMCounter = d.String()
	m.KillFile = d.String()
	m.Launch = d.Bytes()
	m.External = d.Strings()
	m.PIDFile = d.String()
	m.Release = d.Strings()
	m.Console = d.String()
	return m, d.Err()
}

// Created answers Create and Exec: the process, and the user it will run as, looked up in the container's own files.
type Created struct {
	PID      int64
	UID, GID uint64
	Groups   []uint64
}

func (m Created) Encode() []byte {
	var e Encoder
	e.Int(m.PID)
	e.Uint(m.UID)
	e.Uint(m.GID)
	encodeUints(&e, m.Groups)
	return e.Take()
}

func DecodeCreated(b []byte) (m Created, err error) {
	d := NewDecoder(b)
	m.PID = d.Int()
	m.UID = d.Uint()
	m.GID = d.Uint()
	m.Groups = decodeUints(d)
	return m, d.Err()
}

// Signal is sent to the first process of a container, or with All to every process of it.
type Signal struct {
	ID     string
	Signal int64
	All    bool
}

func (m Signal) Encode() []byte {
	var e Encoder
	e.String(m.ID)
	e.Int(m.Signal)
	e.Bool(m.All)
	return e.Take()
}

func DecodeSignal(b []byte) (m Signal, err error) {
	d := NewDecoder(b)
	m.ID = d.String()
	m.Signal = d.Int()
	m.All = d.Bool()
	return m, d.Err()
}

// Exec runs one more process in a running container.
type Exec struct {
	ID          string // container
	TTY         bool
	Stdin       bool
	CgroupDir   string
	CgroupProcs []string
	Launch      []byte // of which only Process is used

	External []string // or: a command like "runc exec ..." that runs in the foreground
	Console  string
	PIDFile  string
}

func (m Exec) Encode() []byte {
	var e Encoder
	e.String(m.ID)
	e.Bool(m.TTY)
	e.Bool(m.Stdin)
	e.String(m.CgroupDir)
	e.Strings(m.CgroupProcs)
	e.Bytes(m.Launch)
	e.Strings(m.External)
	e.String(m.Console)
	e.String(m.PIDFile)
	return e.Take()
}

func DecodeExec(b []byte) (m Exec, err error) {
	d := NewDecoder(b)
	m.ID = d.String()
	m.TTY = d.Bool()
	m.Stdin = d.Bool()
	m.CgroupDir = d.String()
	m.CgroupProcs = d.Strings()
	m.Launch = d.Bytes()
	m.External = d.Strings()
	m.Console = d.String()
	m.PIDFile = d.String()
	return m, d.Err()
}

// Attach joins the streams of a running container.
type Attach struct {
	ID                    string
	Stdin, Stdout, Stderr bool
}

func (m Attach) Encode() []byte {
	var e Encoder
	e.String(m.ID)
	e.Bool(m.Stdin)
	e.Bool(m.Stdout)
	e.Bool(m.Stderr)
	return e.Take()
}

func DecodeAttach(b []byte) (m Attach, err error) {
	d := NewDecoder(b)
	m.ID = d.String()
	m.Stdin = d.Bool()
	m.Stdout = d.Bool()
	m.Stderr = d.Bool()
	return m, d.Err()
}

// Resize sets the size of a terminal in characters.
type Resize struct {
	ID            string
	Width, Height uint64
}

func (m Resize) Encode() []byte {
	var e Encoder
	e.String(m.ID)
	e.Uint(m.Width)
	e.Uint(m.Height)
	return e.Take()
}

func DecodeResize(b []byte) (m Resize, err error) {
	d := NewDecoder(b)
	m.ID = d.String()
	m.Width = d.Uint()
	m.Height = d.Uint()
	return m, d.Err()
}

// Phases of a container in its keeper.
const (
	PhaseCreated = 1
	PhaseRunning = 2
	PhaseExited  = 3
)

// State is what a keeper knows of one container. It is also the content of an exit record on disk.
type State struct {
	ID         string
	Phase      uint64
	PID        int64
	StartedAt  int64 // nanoseconds since 1970; 0: never
	FinishedAt int64
	ExitCode   int64 // as a shell would say it: 128 + signal when killed
	OOMKilled  bool
	User       Created
}

func (m State) Encode() []byte {
	var e Encoder
	e.String(m.ID)
	e.Uint(m.Phase)
	e.Int(m.PID)
	e.Int(m.StartedAt)
	e.Int(m.FinishedAt)
	e.Int(m.ExitCode)
	e.Bool(m.OOMKilled)
	e.Bytes(m.User.Encode())
	return e.Take()
}

func DecodeState(b []byte) (m State, err error) {
	d := NewDecoder(b)
	m.ID = d.String()
	m.Phase = d.Uint()
	m.PID = d.Int()
	m.StartedAt = d.Int()
	m.FinishedAt = d.Int()
	m.ExitCode = d.Int()
	m.OOMKilled = d.Bool()
	m.User, err = DecodeCreated(d.Bytes())
	if err != nil {
		return m, err
	}
	return m, d.Err()
}

func encodeKVs(e *Encoder, list []KeyValue) {
	e.Uint(uint64(len(list)))
	for _, kv := range list {
		e.String(kv.Key)
		e.String(kv.Value)
	}
}

func decodeKVs(d *Decoder) []KeyValue {
	n := d.Count()
	if n == 0 {
		return nil
	}
	list := make([]KeyValue, n)
	for i := range list {
		list[i] = KeyValue{d.String(), d.String()}
	}
	return list
}

func encodeUints(e *Encoder, list []uint64) {
	e.Uint(uint64(len(list)))
	for _, v := range list {
		e.Uint(v)
	}
}

func decodeUints(d *Decoder) []uint64 {
	n := d.Count()
	if n == 0 {
		return nil
	}
	list := make([]uint64, n)
	for i := range list {
		list[i] = d.Uint()
	}
	return list
}
