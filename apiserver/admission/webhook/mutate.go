package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	review "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/audit"
	"proa.dev/object"
)

// The names of audit annotations begin with these; "round_0_index_2" ends them.
const (
	mutated          = "mutation.webhook.admission.k8s.io/"
	patched          = "patch.webhook.admission.k8s.io/"
	mutateFailedOpen = "failed-open." + mutated
)

// rounds is what the step remembers between its two runs for a request.
type rounds struct {
	asked  map[string]bool // those that want to see what others change after them
	again  map[string]bool // those of them that have to be asked again
	output runtime.Object  // the object as the first run left it
}

// requeue has those asked before asked again: something has changed since.
func (w *rounds) requeue() {
	for id := range w.asked {
		w.again[id] = true
	}
	clear(w.asked)
}

// admit is the step MutatingAdmissionWebhook.
func (p *plugin) admit(ctx context.Context, r *admission.Request) error {
	if all := p.mutating.hooks.Load(); all != nil && len(*all) == 0 || rules.Exempt(r) {
		return nil
	}
	hooks, err := p.mutating.list(ctx)
	if err != nil || len(hooks) == 0 {
		return err
	}
	w, ok := r.Recall(mutatingStep).(*rounds)
	if !ok {
		w = &rounds{asked: map[string]bool{}, again: map[string]bool{}}
		r.Remember(mutatingStep, w)
	}
	if r.Again && !equality.Semantic.DeepEqual(w.output, bare(r.Object)) {
		w.requeue() // other steps have changed something
	}
	defer func() {
		w.output = nil
		if r.Object != nil {
			w.output = bare(r.Object).DeepCopyObject()
		}
	}()
	for i := range hooks {
		h := &hooks[i]
		m, ok, err := p.wants(ctx, h, r)
		if err != nil {
			return err
		}
		if !ok || r.Again && !w.again[h.id] {
			continue
		}
		s, err := see(ctx, r, m)
		if err != nil {
			return err
		}
		changed, err := p.mutate(ctx, h, r, s, i)
		if changed {
			w.requeue()
			r.RunAgain()
		}
		if h.again {
			w.asked[h.id] = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func bare(o object.Object) runtime.Object {
	if c, ok := o.(*admission.Connection); ok {
		return c.Object
	}
	return o
}

// mutate asks one webhook and does what it says; n is its place among all.
func (p *plugin) mutate(ctx context.Context, h *hook, r *admission.Request, s subject, n int) (changed bool, err error) {
	round := 0
	if r.Again {
		round = 1
	}
	index := fmt.Sprintf("round_%d_index_%d", round, n)
	a, err := p.call(ctx, h, r, s)
	if err == nil {
		changed, err = p.patch(ctx, h, r, s, a, index)
	}
	annotate(ctx, mutated+index, map[string]any{"configuration": h.configuration, "webhook": h.name, "mutated": changed})
	var failed *failedCall
	switch {
	case !errors.As(err, &failed):
		return changed, err
	case !h.ignore:
		return false, apierrors.NewInternalError(failed)
	}
	if !errors.Is(failed, context.Canceled) {
		p.failedOpen(ctx, h, failed)
		audit.Annotate(ctx, mutateFailedOpen+index, h.name)
	}
	if ctx.Err() != nil {
		return false, outOfTime()
	}
	return false, nil
}

// annotate adds an audit annotation, if somebody audits.
func annotate(ctx context.Context, key string, value map[string]any) {
	if !audit.Audits(ctx) {
		return
	}
	if text, err := json.Marshal(value); err == nil { // names and JSON: it cannot fail
		audit.Annotate(ctx, key, string(text))
	}
}

// patch applies the patch of an answer to the object.
func (p *plugin) patch(ctx context.Context, h *hook, r *admission.Request, s subject, a *answer, index string) (changed bool, err error) {
	if len(a.patch) == 0 {
		return false, nil
	}
	patch, err := jsonpatch.DecodePatch(a.patch)
	if err != nil {
		return false, &failedCall{h.name, fmt.Errorf("received undecodable patch in webhook response: %w", err)}
	}
	if len(patch) == 0 {
		return false, nil
	}
	if s.now == nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", h.name))
	}
	if t := *a.patchType; t != string(review.PatchTypeJSONPatch) {
		return false, &failedCall{h.name, fmt.Errorf("unsupported patch type %q", t)}
	}
	was, err := json.Marshal(s.now)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	text, err := patch.Apply(was)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	made, err := decode(text, s.now)
	if err != nil {
		return false, err
	}
	changed = !equality.Semantic.DeepEqual(s.now, made)
	annotate(ctx, patched+index, map[string]any{"configuration": h.configuration, "webhook": h.name, "patch": patch, "patchType": *a.patchType})
	if err := r.Replace(ctx, made, s.match.Kind); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	return changed, nil
}
