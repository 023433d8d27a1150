// Package resourcequota keeps in the status of each ResourceQuota what the objects of its namespace use.
//
// Admission adds to status.used before a write happens; this controller takes off it what goes away. A count would miss a write that is
// admitted and not stored yet, and give its share away twice. So while others change a status, only what is seen to go is taken off;
// when a quota has been at rest for a while, its objects are counted, and the count holds: it also gives back the shares of
// writes that failed after they were admitted. A name that is new in a quota is counted at once.
//
// What some quota counts is watched, custom resources too, and nothing else. It imports control, client and kinds/core/quota. Read
// controller.go, then plan.go.
package resourcequota
