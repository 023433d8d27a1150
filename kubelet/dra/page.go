package dra

import (
	"context"
	"math"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"proa.dev/kit/prom"
)

// counts is how long drivers took.
type counts struct {
	pods  prom.Times[[2]string] // all claims of a pod
	calls prom.Times[[3]string]
}

// scale has 15 bounds from a tenth of a second to 40 seconds, each larger than the one before by the same factor, as Kubernetes has them.
func scale() *prom.Scale {
	bounds := make([]float64, 15)
	factor := math.Pow(40/.1, 1./14)
	for i := range bounds {
		bounds[i] = .1 * math.Pow(factor, float64(i))
	}
	return prom.Seconds(bounds...)
}

func (c *counts) pod(operation string, began time.Time, err error) {
	c.pods.Add(scale, [2]string{operation, strconv.FormatBool(err != nil)}, int64(time.Since(began)))
}

// measured notes the calls of a driver.
func (c *counts) measured(driver string) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		began := time.Now()
		err := call(ctx, method, req, reply, conn, opts...)
		c.calls.Add(scale, [3]string{driver, method, status.Code(err).String()}, int64(time.Since(began)))
		return err
	}
}

// Page writes them, and how many claims are prepared: by driver, and all.
func (m *Manager) Page(p *prom.Page) {
	m.counts.pods.Page(p, "dra_operations_duration_seconds", "[ALPHA] How long it took to have all claims of a pod prepared, or unprepared.",
		[2]string{"operation_name", "is_error"})
	m.counts.calls.Page(p, "dra_grpc_operations_duration_seconds", "[ALPHA] How long a call of a driver took.", [3]string{"driver_name", "method_name", "grpc_status_code"})
	var inUse prom.Counts[[1]string]
	inUse.Add([1]string{"<any>"}, 0)
	m.mu.Lock()
	for _, c := range m.claims {
		if !c.done {
			continue
		}
		inUse.Add([1]string{"<any>"}, 1)
		for driver := range c.Drivers {
			inUse.Add([1]string{driver}, 1)
		}
	}
	m.mu.Unlock()
	inUse.PageAs(p, "gauge", "dra_resource_claims_in_use", "[ALPHA] Claims that are prepared, by driver, and in all.", [1]string{"driver_name"})
}
