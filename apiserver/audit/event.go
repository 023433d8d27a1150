package audit

import (
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/authn"
)

// Level is how much is written down.
type Level string

// The levels, from the lowest on.
const (
	None            Level = "None"
	Metadata        Level = "Metadata"
	Request         Level = "Request"         // and the request's object
	RequestResponse Level = "RequestResponse" // and the response's
)

// levels in their order.
var levels = []Level{None, Metadata, Request, RequestResponse}

func (l Level) rank() int {
	for i, v := range levels {
		if v == l {
			return i
		}
	}
	return 0
}

// Stage is a point in the life of a request.
type Stage string

// The stages.
const (
	RequestReceived  Stage = "RequestReceived"
	ResponseStarted  Stage = "ResponseStarted" // of watches and streams only
	ResponseComplete Stage = "ResponseComplete"
	Panic            Stage = "Panic"
)

var stages = []Stage{RequestReceived, ResponseStarted, ResponseComplete, Panic}

// Event is audit.k8s.io/v1 Event: one request at one stage. Times have microseconds.
type Event struct {
	Kind           string            `json:"kind"`       // always "Event"
	APIVersion     string            `json:"apiVersion"` // always "audit.k8s.io/v1"
	Level          Level             `json:"level"`
	AuditID        string            `json:"auditID"`
	Stage          Stage             `json:"stage"`
	RequestURI     string            `json:"requestURI"`
	Verb           string            `json:"verb"`
	User           User              `json:"user"`
	Impersonated   *User             `json:"impersonatedUser,omitempty"`
	SourceIPs      []string          `json:"sourceIPs,omitempty"`
	UserAgent      string            `json:"userAgent,omitempty"`
	Object         *Object           `json:"objectRef,omitempty"`
	ResponseStatus *metav1.Status    `json:"responseStatus,omitempty"`
	RequestObject  json.RawMessage   `json:"requestObject,omitempty"`
	ResponseObject json.RawMessage   `json:"responseObject,omitempty"`
	Received       string            `json:"requestReceivedTimestamp"`
	Staged         string            `json:"stageTimestamp"`
	Annotations    map[string]string `json:"annotations,omitempty"`
}

// User is who asked.
type User struct {
	Username string              `json:"username,omitempty"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

// UserOf is u as the log has it.
func UserOf(u authn.User) User { return User{u.Name, u.UID, u.Groups, u.Extra} }

// Object is what was asked for.
type Object struct {
	Resource        string `json:"resource,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name,omitempty"`
	UID             string `json:"uid,omitempty"`
	APIGroup        string `json:"apiGroup,omitempty"`
	APIVersion      string `json:"apiVersion,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	Subresource     string `json:"subresource,omitempty"`
}

// Time is t as the log has it.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// longestAgent bounds what a client says of itself.
const longestAgent = 1024

// Agent is a User-Agent header as the log has it.
func Agent(s string) string {
	if len(s) > longestAgent {
		return s[:longestAgent] + "...TRUNCATED"
	}
	return s
}
