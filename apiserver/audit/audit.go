package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"proa.dev/apiserver/authn"
)

// Event is one request. Times have microseconds.
type Event struct {
	Kind           string            `json:"kind"`       // always "Event"
	APIVersion     string            `json:"apiVersion"` // always "audit.k8s.io/v1"
	Level          string            `json:"level"`
	AuditID        string            `json:"auditID"`
	Stage          string            `json:"stage"`
	RequestURI     string            `json:"requestURI"`
	Verb           string            `json:"verb"`
	User           User              `json:"user"`
	Impersonated   *User             `json:"impersonatedUser,omitempty"`
	SourceIPs      []string          `json:"sourceIPs,omitempty"`
	UserAgent      string            `json:"userAgent,omitempty"`
	Object         *Object           `json:"objectRef,omitempty"`
	ResponseStatus Status            `json:"responseStatus"`
	Received       string            `json:"requestReceivedTimestamp"`
	Staged         string            `json:"stageTimestamp"`
	Annotations    map[string]string `json:"annotations,omitempty"`
}

// User is who asked.
type User struct {
	Username string              `json:"username"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

// UserOf is u as the log has it.
func UserOf(u authn.User) User { return User{u.Name, u.UID, u.Groups, u.Extra} }

// Object is what was asked for.
type Object struct {
	Resource    string `json:"resource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	APIGroup    string `json:"apiGroup,omitempty"`
	APIVersion  string `json:"apiVersion,omitempty"`
	Subresource string `json:"subresource,omitempty"`
}

// Status is how it ended.
type Status struct {
	Code int `json:"code"`
}

// Time is t as the log has it.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Log is an audit log in a file. A nil Log writes nothing.
type Log struct {
	mu   sync.Mutex // guards file
	file *os.File
}

// Open opens or creates the file, for root only, and appends to it.
func Open(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return &Log{file: f}, nil
}

// Write appends one event.
func (l *Log) Write(e Event) error {
	if l == nil {
		return nil
	}
	e.Kind, e.APIVersion, e.Level = "Event", "audit.k8s.io/v1", "Metadata"
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an audit event: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
