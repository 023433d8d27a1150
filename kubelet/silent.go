package kubelet

import "proa.dev/object"

// silent records nothing.
type silent struct{}

func (silent) Event(object.Object, string, string, string, ...any) {}

func (silent) Field(object.Object, string, string, string, string, ...any) {}
