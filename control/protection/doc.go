// Package protection lets go of claims, volumes and classes of volume attributes that are being deleted, when nobody uses them any more:
// admission has given them a finalizer by which they stay until then. It imports control, client and object. Read controller.go.
package protection
