// Command store keeps counters in a file and serves them over TCP, one line a request:
//
//	AUTH <password>      +OK
//	INCR <key>           :<new value>
//	GET <key>            :<value>
//
// It answers -ERR <reason> to anything else. STORE_PASSWORD must be set; STORE_DIR is where the file is kept (default /data).
package main
