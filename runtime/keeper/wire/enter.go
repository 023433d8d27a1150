package wire

// What a helper makes of itself in a user namespace.
const (
	EnterStage = "stage" // a container's first stage, with a mount namespace
	EnterExec  = "exec"  // the stage of an additional process, in all namespaces of the container's first one
	EnterPause = "pause" // the first process of a PID namespace that containers share
)

// Enter tells a helper what to start in the user namespace of the pod.
type Enter struct {
	Word    string // one of the above; it becomes the argument of the keeper's binary
	NewPID  bool   // in a PID namespace of its own
	JoinPID bool   // in that of the process that the helper was given a descriptor of
	Launch  []byte // an encoded Launch, whose host side the helper prepares; empty for EnterPause
}

func (m Enter) Encode() []byte {
	var e Encoder
	e.String(m.Word)
	e.Bool(m.NewPID)
	e.Bool(m.JoinPID)
	e.Bytes(m.Launch)
	return e.Take()
}

func DecodeEnter(b []byte) (m Enter, err error) {
	d := NewDecoder(b)
	m.Word = d.String()
	m.NewPID = d.Bool()
	m.JoinPID = d.Bool()
	m.Launch = d.Bytes()
	return m, d.Err()
}
