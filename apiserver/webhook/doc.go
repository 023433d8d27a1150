// Package webhook calls the webhooks of users: those of admission, and those that convert custom resources. A Config says where one is, as
// clientConfig in their configurations does; Clients keeps the connections to all of them.
//
//	c := webhook.New(view)
//	answer, err := c.Post(ctx, webhook.Config{Service: &webhook.Service{Namespace: "shop", Name: "policy", Path: "/check", Port: 443}, CA: pem}, body)
//
// The name of a service is for the certificate only ("policy.shop.svc"): the API server need not run where cluster DNS and service
// addresses work, so one of the service's ready endpoints is dialled. It imports client and object. Read client.go.
package webhook
