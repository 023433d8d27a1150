package apiserver

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/apiserver/codec"
)

// readBody reads what the client sent, up to codec.MaxBody: 413 beyond.
func readBody(r *http.Request) ([]byte, error) {
	n := r.ContentLength
	switch {
	case n > codec.MaxBody:
		return nil, tooLarge()
	case n == 0:
		return nil, nil
	}
	defer readInTime(r.Context(), requestOf(r.Context()).out)()
	if n > 0 {
		b := make([]byte, n)
		if _, err := io.ReadFull(r.Body, b); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
		}
		return b, nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, codec.MaxBody+1))
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
	}
	if len(b) > codec.MaxBody {
		return nil, tooLarge()
	}
	return b, nil
}

func tooLarge() error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", codec.MaxBody))
}

// listOptions reads the query of a list or watch. A value that cannot be read is a 400.
func listOptions(v url.Values) (o metav1.ListOptions, err error) {
	if len(v) == 0 {
		return o, nil
	}
	o = metav1.ListOptions{
		LabelSelector: v.Get("labelSelector"), FieldSelector: v.Get("fieldSelector"), ResourceVersion: v.Get("resourceVersion"),
		ResourceVersionMatch: metav1.ResourceVersionMatch(v.Get("resourceVersionMatch")), Continue: v.Get("continue"),
		AllowWatchBookmarks: asks(v, "allowWatchBookmarks"),
	}
	if o.Limit, err = number(v, "limit"); err != nil {
		return o, err
	}
	if v.Get("timeoutSeconds") != "" {
		n, err := number(v, "timeoutSeconds")
		if err != nil {
			return o, err
		}
		o.TimeoutSeconds = &n
	}
	if v.Has("sendInitialEvents") {
		b := asks(v, "sendInitialEvents")
		o.SendInitialEvents = &b
	}
	return o, nil
}

func number(v url.Values, name string) (int64, error) {
	s := v.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(err.Error())
	}
	return n, nil
}

// deleteOptions reads the body of a delete, or its query where there is no body.
func deleteOptions(r *http.Request, v url.Values) (o metav1.DeleteOptions, err error) {
	body, err := readBody(r)
	if err != nil {
		return o, err
	}
	if len(body) == 0 {
		return deleteQuery(v)
	}
	form, err := codec.ContentType(r.Header.Get("Content-Type"))
	if err != nil {
		return o, err
	}
	if form == codec.JSON || form == codec.YAML {
		notePatch(r.Context(), body)
	}
	return codec.DecodeDeleteOptions(body, form)
}

func deleteQuery(v url.Values) (o metav1.DeleteOptions, err error) {
	o.DryRun = v["dryRun"]
	if v.Get("gracePeriodSeconds") != "" {
		n, err := number(v, "gracePeriodSeconds")
		if err != nil {
			return o, err
		}
		o.GracePeriodSeconds = &n
	}
	if p := v.Get("propagationPolicy"); p != "" {
		policy := metav1.DeletionPropagation(p)
		o.PropagationPolicy = &policy
	}
	if s := v.Get("orphanDependents"); s != "" {
		orphan := asks(v, "orphanDependents")
		o.OrphanDependents = &orphan //nolint:staticcheck // deprecated, and still sent
	}
	var pre metav1.Preconditions
	if s := types.UID(v.Get("uid")); s != "" {
		pre.UID = &s
	}
	if s := v.Get("resourceVersion"); s != "" {
		pre.ResourceVersion = &s
	}
	if pre != (metav1.Preconditions{}) {
		o.Preconditions = &pre
	}
	return o, nil
}
