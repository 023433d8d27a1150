package serve

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of a query.
const (
	maxTail     = 100000 // lines
	maxName     = 256    // of a service
	maxServices = 4
	queryWithin = 30 * time.Second
)

// unsafeName matches what no name of a service has.
var unsafeName = regexp.MustCompile(`[^a-zA-Z\-_.:0-9@]+`)

// logQuery is what /logs/?query= asks for (KEP-2258): logs of services, or one file.
type logQuery struct {
	services, files []string
	since, until    *time.Time
	tail, boot      *int
	pattern         string
}

// options says whether anything but the names is asked for.
func (q *logQuery) options() bool {
	return q.since != nil || q.until != nil || q.tail != nil || q.boot != nil || q.pattern != ""
}

// parseQuery reads a query; nil: it asks for nothing of the kind.
func parseQuery(v url.Values) (*logQuery, field.ErrorList) {
	var errs field.ErrorList
	bad := func(name string, value any, why string) {
		errs = append(errs, field.Invalid(field.NewPath(name), value, why))
	}
	q := &logQuery{pattern: v.Get("pattern")}
	for _, name := range v["query"] {
		if strings.ContainsAny(name, `/\`) {
			q.files = append(q.files, name)
		} else if strings.TrimSpace(name) != "" {
			q.services = append(q.services, name)
		}
	}
	if v.Has("query") && len(q.files)+len(q.services) == 0 {
		bad("query", v["query"], "query cannot be empty")
	}
	moment := func(name string) *time.Time {
		text := v.Get(name)
		if text == "" {
			return nil
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			bad(name, text, "invalid time format")
			return nil
		}
		return &t
	}
	number := func(name string) *int {
		text := v.Get(name)
		if text == "" {
			return nil
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			bad(name, text, err.Error())
			return nil
		}
		return &n
	}
	q.since, q.until = moment("sinceTime"), moment("untilTime")
	q.boot, q.tail = number("boot"), number("tailLines")
	if len(errs) > 0 || len(q.files)+len(q.services) == 0 && !q.options() {
		return nil, errs
	}
	return q, nil
}

// check finds what cannot be answered. logs is where files are.
func (q *logQuery) check(logs fs.FS) (errs field.ErrorList) {
	bad := func(name string, value any, why string) {
		errs = append(errs, field.Invalid(field.NewPath(name), value, why))
	}
	for _, s := range q.services {
		if len(s) > maxName {
			bad("query", s, fmt.Sprintf("length must be less than %d", maxName))
		} else if unsafeName.MatchString(s) {
			bad("query", s, "input contains unsupported characters")
		}
	}
	if len(q.services) > maxServices {
		errs = append(errs, field.TooMany(field.NewPath("query"), len(q.services), maxServices))
	}
	switch {
	case len(q.files)+len(q.services) == 0:
		errs = append(errs, field.Required(field.NewPath("query"), "cannot be empty with options"))
	case len(q.files) > 0 && len(q.services) > 0:
		bad("query", fmt.Sprintf("%v, %v", q.files, q.services), "cannot specify a file and service")
	case len(q.files) > 1:
		bad("query", q.files, "cannot specify more than one file")
	case len(q.files) == 1 && q.options():
		bad("query", q.files, "cannot specify file with options")
	case len(q.files) == 1:
		if _, err := fs.Stat(logs, inLogs(q.files[0])); err != nil {
			bad("query", q.files, err.Error())
		}
	}
	if q.since != nil && q.until != nil && q.since.After(*q.until) {
		bad("untilTime", q.until, "must be after `sinceTime`")
	}
	if q.boot != nil && *q.boot > 0 {
		bad("boot", *q.boot, "must be less than 1")
	}
	if q.tail != nil {
		if why := validation.IsInRange(*q.tail, 0, maxTail); why != nil {
			bad("tailLines", *q.tail, why[0])
		}
	}
	if _, err := syntax.Parse(q.pattern, syntax.Perl); err != nil {
		bad("pattern", q.pattern, err.Error())
	}
	return errs
}

// inLogs is the path of a file as an fs.FS has it.
func inLogs(name string) string {
	return strings.TrimPrefix(filepath.ToSlash(filepath.Clean("/"+strings.ReplaceAll(name, `\`, "/"))), "/")
}

// journalTime is how journalctl reads times, in UTC.
const journalTime = "2006-01-02 15:04:05"

// command is what journalctl is called with.
func (q *logQuery) command(services []string) []string {
	args := []string{"--utc", "--no-pager", "--output=short-precise"}
	if q.since != nil {
		args = append(args, "--since="+q.since.UTC().Format(journalTime))
	}
	if q.until != nil {
		args = append(args, "--until="+q.until.UTC().Format(journalTime))
	}
	if q.tail != nil {
		args = append(args, "--pager-end", fmt.Sprintf("--lines=%d", *q.tail))
	}
	for _, s := range services {
		args = append(args, "--unit="+s)
	}
	if q.pattern != "" {
		args = append(args, "--grep="+q.pattern, "--case-sensitive=false")
	}
	if q.boot != nil {
		args = append(args, "--boot", strconv.Itoa(*q.boot))
	}
	return args
}

// systemLogs is /logs/: files below s.Logs, and what is asked by a query.
func (s *Server) systemLogs() http.Handler {
	if s.NoLogs {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "logs endpoint is disabled.", http.StatusMethodNotAllowed)
		})
	}
	dir := logDir(s.Logs)
	files := http.FileServerFS(dir)
	return http.StripPrefix("/logs/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.LogQuery {
			files.ServeHTTP(w, r)
			return
		}
		q, errs := parseQuery(r.URL.Query())
		if len(errs) > 0 {
			http.Error(w, errs.ToAggregate().Error(), http.StatusBadRequest)
			return
		}
		if q == nil {
			files.ServeHTTP(w, r)
			return
		}
		if errs := q.check(dir); len(errs) > 0 {
			http.Error(w, errs.ToAggregate().Error(), http.StatusNotAcceptable)
			return
		}
		if len(q.files) == 1 {
			r.URL.Path = inLogs(q.files[0])
			files.ServeHTTP(w, r)
			return
		}
		s.services(w, r, q, dir)
	}))
}

// services sends the logs of services: from the journal, or else from files that have their names. Our own is where we write it.
func (s *Server) services(w http.ResponseWriter, r *http.Request, q *logQuery, dir fs.FS) {
	ctx, cancel := context.WithTimeout(r.Context(), queryWithin)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	var out io.Writer = w
	if r.Header.Get("Accept-Encoding") == "gzip" {
		w.Header().Set("Content-Encoding", "gzip")
		gz, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // a level that there is
		defer gz.Close()
		out = gz
	}
	units := s.units(ctx)
	var native, files []string
	unit := s.ownUnit()
	for _, name := range q.services {
		own := slices.Contains(ownNames, name)
		switch {
		case own && unit != "" && strings.Contains(units, unit+".service"):
			native = append(native, unit)
		case own && s.sendOwn(out, q, name):
		case strings.Contains(units, name+".service"):
			native = append(native, name)
		default:
			files = append(files, name)
		}
	}
	if len(native) > 0 {
		cmd := exec.CommandContext(ctx, s.Journal, q.command(native)...)
		cmd.Stdout, cmd.Stderr = out, out
		var ended *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &ended) { // what it has to say is sent already
			fmt.Fprintf(out, "\nerror: journal output not available\n")
		}
	}
	if len(files) > 0 && q.options() {
		fmt.Fprintf(out, "\noptions present and query resolved to log files for %v\ntry without specifying options\n", files)
		return
	}
	for _, name := range files {
		switch err := copyLog(out, dir, name); {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(out, "\nlog not found for %s\n", name)
		case err != nil:
			fmt.Fprintf(out, "\nerror getting log for %s: %v\n", name, err)
		}
	}
}

// units are the names of what has written into the journal; "" where there is none.
func (s *Server) units(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, s.Journal, "--field", "_SYSTEMD_UNIT").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// copyLog sends the first file that may be the log of a service.
func copyLog(w io.Writer, dir fs.FS, service string) error {
	for _, name := range []string{service, service + ".log", service + "/" + service + ".log"} {
		if !fs.ValidPath(name) {
			continue
		}
		f, err := dir.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			continue
		}
		_, err = io.Copy(w, f)
		return err
	}
	return fs.ErrNotExist
}

// logDir is a directory whose links may point anywhere in it, but not out of it: who may read logs may not read the machine.
type logDir string

// Open implements fs.FS.
func (d logDir) Open(name string) (fs.File, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	base, baseErr := filepath.EvalSymlinks(string(d))
	full, fullErr := filepath.EvalSymlinks(filepath.Join(string(d), name)) // an absolute link, as those to the logs of pods are
	if baseErr != nil || fullErr != nil {
		return nil, errors.Join(err, baseErr, fullErr)
	}
	rel, relErr := filepath.Rel(base, full)
	if relErr != nil || !filepath.IsLocal(rel) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return root.Open(rel)
}
