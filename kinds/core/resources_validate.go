package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podresource "k8s.io/component-helpers/resource"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

// requirements checks requests and limits at p; name checks the names of their resources.
func (c *podCheck) requirements(p *field.Path, r *core.ResourceRequirements, name func(*check.Errors, *field.Path, core.ResourceName)) {
	computed, huge := false, false
	one := func(p *field.Path, n core.ResourceName, q resource.Quantity) {
		computed = computed || n == core.ResourceCPU || n == core.ResourceMemory
		if resources.HugePages(n) {
			huge = true
			if !resources.DivisibleByPage(n, q) {
				c.Invalid(p, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), n))
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(r.Limits)) {
		at := p.Child("limits").Key(string(n))
		name(c.Errors, at, n)
		resources.Value(c.Errors, at, n, r.Limits[n])
		one(at, n, r.Limits[n])
	}
	for _, n := range slices.Sorted(maps.Keys(r.Requests)) {
		q, at := r.Requests[n], p.Child("requests").Key(string(n))
		name(c.Errors, at, n)
		resources.Value(c.Errors, at, n, q)
		limit, limited := r.Limits[n]
		overcommit := resources.Overcommit(n)
		switch {
		case limited && !overcommit && q.Cmp(limit) != 0:
			c.Invalid(p.Child("requests"), q.String(), fmt.Sprintf("must be equal to %s limit of %s", n, limit.String()))
		case limited && q.Cmp(limit) > 0:
			c.Invalid(p.Child("requests"), q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", n, limit.String()))
		case !limited && !overcommit:
			c.Required(p.Child("limits"), "Limit must be set for non overcommitable resources")
		}
		one(at, n, q)
	}
	if huge && !computed {
		c.Forbidden(p, "HugePages require cpu or memory")
	}
	c.usedClaims(p.Child("claims"), r.Claims)
}

func (c *podCheck) usedClaims(p *field.Path, claims []core.ResourceClaim) {
	seen := map[string]bool{}
	for i, claim := range claims {
		at := p.Index(i)
		if claim.Name == "" {
			c.Required(at, "")
			continue
		}
		key := claim.Name
		whole := claim.Request == "" && slices.ContainsFunc(claims[:i], func(c core.ResourceClaim) bool { // a part of it was there
			return c.Name == claim.Name && c.Request != ""
		})
		if claim.Request != "" {
			c.Label(at.Child("request"), claim.Request)
			key += "/" + claim.Request
		}
		switch {
		case seen[claim.Name]:
			c.Duplicate(at, claim.Name)
		case seen[key], whole:
			c.Duplicate(at, key)
		}
		seen[key] = true
		if !slices.Contains(c.claims, claim.Name) {
			err := field.NotFound(at, claim.Name)
			if err.Detail = "must be one of the names in pod.spec.resourceClaims"; len(c.claims) == 0 {
				err.Detail += " which is empty"
			} else {
				err.Detail += ": " + strings.Join(slices.Sorted(slices.Values(c.claims)), ", ")
			}
			c.Add(err)
		}
	}
}

// podResources checks what a pod requests as a whole (KEP-2837).
func (c *podCheck) podResources(p *field.Path) {
	r := c.spec.Resources
	if r == nil {
		return
	}
	p = p.Child("resources")
	if c.spec.OS != nil && c.spec.OS.Name == core.Windows {
		c.Forbidden(p, "may not be set for a windows pod")
		return
	}
	if r.Claims != nil {
		c.Forbidden(p.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	c.requirements(p, r, resources.OfPod)
	pod := &core.Pod{Spec: *c.spec}
	sum := podresource.AggregateContainerRequests(pod, podresource.PodResourcesOptions{})
	for _, n := range slices.Sorted(maps.Keys(sum)) {
		of, all := sum[n], r.Requests[n]
		if _, ok := r.Requests[n]; ok && of.Cmp(all) > 0 {
			c.Invalid(p.Child("requests").Key(string(n)), all.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", of.String()))
		}
	}
	sum = podresource.AggregateContainerLimits(pod, podresource.PodResourcesOptions{})
	for _, n := range slices.Sorted(maps.Keys(sum)) {
		of, all := sum[n], r.Limits[n]
		if _, ok := r.Limits[n]; ok && resources.HugePages(n) && of.Cmp(all) > 0 {
			c.Invalid(p.Child("limits").Key(string(n)), all.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", of.String()))
		}
	}
	for i, ctr := range c.spec.Containers {
		for _, n := range slices.Sorted(maps.Keys(ctr.Resources.Limits)) {
			one, all := ctr.Resources.Limits[n], r.Limits[n]
			if _, ok := r.Limits[n]; ok && one.Cmp(all) > 0 {
				c.Invalid(p.Child("containers").Index(i).Key(string(n)).Child("limits"), one.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", all.String()))
			}
		}
	}
}

// ValidateResources checks requests and limits of a container.
func ValidateResources(e *check.Errors, p *field.Path, r *core.ResourceRequirements) {
	c := &podCheck{Errors: e}
	c.requirements(p, r, resources.OfContainer)
}
