package csi

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"proa.dev/kit/prom"
)

// Operations is how long operations on volumes took, those of other plugins too, under Kubernetes' names. The zero value is ready.
type Operations struct {
	each  prom.Times[[4]string]
	whole prom.Times[[2]string]
	calls prom.Times[[4]string]
}

// Plugin is what metrics call a driver.
func Plugin(driver string) string { return "kubernetes.io/csi:" + driver }

func scale() *prom.Scale { return prom.Seconds(.1, .25, .5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600) }

// Add notes that an operation has ended.
func (o *Operations) Add(plugin, name string, began time.Time, err error) {
	how := "success"
	if err != nil {
		how = "fail-unknown"
	}
	o.each.Add(scale, [4]string{plugin, name, how, notMigrated}, int64(time.Since(began)))
}

// notMigrated: there are no plugins here whose volumes became those of a driver.
const notMigrated = "false"

// Whole notes that something has succeeded which was asked for then, all that it waited for included.
func (o *Operations) Whole(plugin, name string, asked time.Time) {
	o.whole.Add(scale, [2]string{plugin, name}, int64(time.Since(asked)))
}

// measured notes the calls of a driver.
func (o *Operations) measured(driver string) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		began := time.Now()
		err := call(ctx, method, req, reply, conn, opts...)
		code := "unknown-non-grpc"
		if s, ok := status.FromError(err); ok {
			code = s.Code().String()
		}
		o.calls.Add(scale, [4]string{driver, method, code, notMigrated}, int64(time.Since(began)))
		return err
	}
}

// Page writes them.
func (o *Operations) Page(p *prom.Page) {
	o.each.Page(p, "storage_operation_duration_seconds", "[BETA] How long an operation on a volume took.",
		[4]string{"volume_plugin", "operation_name", "status", "migrated"})
	o.whole.Page(p, "volume_operation_total_seconds", "[BETA] How long it took from the wish to its fulfilment.", [2]string{"plugin_name", "operation_name"})
	o.calls.Page(p, "csi_operations_seconds", "[ALPHA] How long a call of a CSI driver took.", [4]string{"driver_name", "method_name", "grpc_status_code", "migrated"})
}
