// Package disktest makes disk images with the tools that people use, for tests.
package disktest
