// Command enforcer guards running guests: see package enforcer and its README.
package main
