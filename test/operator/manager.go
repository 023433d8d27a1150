package main

import (
	"context"
	"errors"
	"fmt"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	maxBeds   = 10
	finalizer = "garden.example.org/tidy"
	tended    = "garden.example.org/tended" // a label that the mutating webhook sets
	keep      = "garden.example.org/keep"   // an annotation that forbids deletion
)

// newManager is the operator. It starts nothing.
func newManager(config *rest.Config, options ctrl.Options) (ctrl.Manager, error) {
	m, err := ctrl.NewManager(config, options)
	if err != nil {
		return nil, err
	}
	if err := addGarden(m.GetScheme()); err != nil {
		return nil, err
	}
	err = ctrl.NewControllerManagedBy(m).For(&Garden{}).Owns(&core.ConfigMap{}).Complete(&gardener{m.GetClient()})
	if err != nil {
		return nil, err
	}
	return m, ctrl.NewWebhookManagedBy(m, &Garden{}).WithDefaulter(rules{}).WithValidator(rules{}).Complete()
}

// gardener makes as many ConfigMaps as a garden has beds.
type gardener struct{ client.Client }

func bed(g *Garden, n int32) *core.ConfigMap {
	return &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: fmt.Sprintf("%s-%d", g.Name, n)}}
}

// Reconcile implements reconcile.Reconciler.
func (r *gardener) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var g Garden
	if err := r.Get(ctx, req.NamespacedName, &g); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !g.DeletionTimestamp.IsZero() {
		for n := range g.Spec.Beds {
			if err := client.IgnoreNotFound(r.Delete(ctx, bed(&g, n))); err != nil {
				return ctrl.Result{}, err
			}
		}
		controllerutil.RemoveFinalizer(&g, finalizer)
		return ctrl.Result{}, r.Update(ctx, &g)
	}
	if controllerutil.AddFinalizer(&g, finalizer) {
		if err := r.Update(ctx, &g); err != nil {
			return ctrl.Result{}, err
		}
	}
	for n := range g.Spec.Beds {
		b := bed(&g, n)
		_, err := controllerutil.CreateOrUpdate(ctx, r.Client, b, func() error {
			b.Data = map[string]string{"garden": g.Name}
			return ctrl.SetControllerReference(&g, b, r.Scheme())
		})
		if err != nil {
			return ctrl.Result{}, err
		}
	}
	if g.Status.Planted == g.Spec.Beds {
		return ctrl.Result{}, nil
	}
	g.Status.Planted = g.Spec.Beds
	return ctrl.Result{}, r.Status().Update(ctx, &g)
}

// rules is the webhooks.
type rules struct{}

// Default implements admission.Defaulter.
func (rules) Default(_ context.Context, g *Garden) error {
	if g.Spec.Beds == 0 {
		g.Spec.Beds = 1
	}
	if g.Labels == nil {
		g.Labels = map[string]string{}
	}
	g.Labels[tended] = "yes"
	return nil
}

// ValidateCreate implements admission.Validator.
func (rules) ValidateCreate(_ context.Context, g *Garden) (w admission.Warnings, err error) {
	if g.Spec.Beds > maxBeds/2 {
		w = append(w, "that is a large garden")
	}
	if g.Spec.Beds > maxBeds {
		err = fmt.Errorf("a garden has at most %d beds", maxBeds)
	}
	return w, err
}

// ValidateUpdate implements admission.Validator.
func (r rules) ValidateUpdate(ctx context.Context, old, now *Garden) (admission.Warnings, error) {
	if now.Spec.Beds < old.Spec.Beds {
		return nil, errors.New("a garden does not shrink")
	}
	return r.ValidateCreate(ctx, now)
}

// ValidateDelete implements admission.Validator.
func (rules) ValidateDelete(_ context.Context, g *Garden) (admission.Warnings, error) {
	if g.Annotations[keep] != "" {
		return nil, errors.New("this garden is to be kept")
	}
	return nil, nil
}
