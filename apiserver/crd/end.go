package crd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	kind "proa.dev/kinds/apiextensions"
	"proa.dev/object"
)

// errLeft says that objects of a kind that is being deleted are held by their finalizers: it is looked at again.
var errLeft = errors.New("objects are left")

// end takes one step in the deletion of d: it is closed, emptied, and let go.
func (s *Server) end(ctx context.Context, d *apiextensions.CustomResourceDefinition) error {
	if !slices.Contains(d.Finalizers, apiextensions.CustomResourceCleanupFinalizer) {
		return nil // somebody else's finalizer holds it
	}
	if s.served[d.Name] != nil || kind.True(d, apiextensions.Established) {
		if err := s.serve(ctx, d); err != nil {
			return err
		}
	}
	if c := kind.Find(d, apiextensions.Terminating); c == nil || c.Reason == "InstanceDeletionPending" {
		return s.terminating(ctx, d, apiextensions.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress", false)
	}
	if !kind.True(d, apiextensions.Established) {
		return s.terminating(ctx, d, apiextensions.ConditionFalse, "NeverEstablished", "resource was never established", true)
	}
	left, err := s.api.Empty(ctx, d.Name)
	if err != nil {
		text := fmt.Sprintf("could not issue all deletes: %v", err)
		return errors.Join(err, s.terminating(ctx, d, apiextensions.ConditionTrue, "InstanceDeletionFailed", text, false))
	}
	if left > 0 {
		text := fmt.Sprintf("could not confirm zero CustomResources remaining: %d are left", left)
		return errors.Join(errLeft, s.terminating(ctx, d, apiextensions.ConditionTrue, "InstanceDeletionCheck", text, false))
	}
	return s.terminating(ctx, d, apiextensions.ConditionFalse, "InstanceDeletionCompleted", "removed all instances", true)
}

// terminating writes how far the deletion is. done lets the definition go.
func (s *Server) terminating(ctx context.Context, d *apiextensions.CustomResourceDefinition, st apiextensions.ConditionStatus, reason, message string, done bool) error {
	if c := kind.Find(d, apiextensions.Terminating); c != nil && c.Status == st && c.Reason == reason && c.Message == message && !done {
		return nil
	}
	next := object.Clone(d)
	kind.Set(next, apiextensions.CustomResourceDefinitionCondition{Type: apiextensions.Terminating, Status: st, Reason: reason, Message: message}, time.Now())
	if done {
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == apiextensions.CustomResourceCleanupFinalizer })
	}
	t := client.TargetOf[apiextensions.CustomResourceDefinition](object.KeyOf(next))
	t.Sub = "status"
	_, err := s.self().Update(ctx, t, next, metav1.UpdateOptions{}) // the last one answers no object
	return err
}
