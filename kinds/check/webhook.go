package check

import (
	"fmt"
	"net/url"
	"strings"

	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// WebhookURL wants where a webhook can be: https, a host, and at most a path.
func (e *Errors) WebhookURL(p *field.Path, text string) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		e.Required(p, "url must be a valid URL: "+err.Error()+form)
		return
	}
	if u.Scheme != "https" {
		e.Invalid(p, u.Scheme, "'https' is the only allowed URL scheme"+form)
	}
	if u.Host == "" {
		e.Invalid(p, u.Host, "host must be specified"+form)
	}
	if u.User != nil {
		e.Invalid(p, u.User.String(), "user information is not permitted in the URL")
	}
	if u.Fragment != "" {
		e.Invalid(p, u.Fragment, "fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		e.Invalid(p, u.RawQuery, "query parameters are not permitted in the URL")
	}
}

// Service is a reference to the service behind which a webhook is.
type Service struct {
	Namespace, Name string
	Path            *string
	Port            int32
}

// WebhookService wants a service that can be, and a path of plain segments.
func (e *Errors) WebhookService(p *field.Path, s Service) {
	if s.Name == "" {
		e.Required(p.Child("name"), "")
	}
	if s.Namespace == "" {
		e.Required(p.Child("namespace"), "")
	}
	if bad := utilvalidation.IsValidPortNum(int(s.Port)); bad != nil {
		e.Invalid(p.Child("port"), s.Port, "port is not valid: "+strings.Join(bad, ", "))
	}
	if s.Path == nil || *s.Path == "" || *s.Path == "/" {
		return
	}
	path, at := *s.Path, p.Child("path")
	if path == "//" {
		e.Invalid(at, path, "segment[0] may not be empty")
		return
	}
	if !strings.HasPrefix(path, "/") {
		e.Invalid(at, path, "must start with a '/'")
	}
	for i, step := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if step == "" {
			e.Invalid(at, path, fmt.Sprintf("segment[%d] may not be empty", i))
			continue
		}
		for _, bad := range utilvalidation.IsDNS1123Subdomain(step) {
			e.Invalid(at, path, fmt.Sprintf("segment[%d]: %v", i, bad))
		}
	}
}
