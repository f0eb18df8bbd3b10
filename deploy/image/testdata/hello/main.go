// Command hello stands for the daemon in the test of the image.
package main

import (
	"fmt"
	_ "net" // asks for libc where it may
)

var version = "unset"

func main() { fmt.Println(version) }
