// Command enforcer guards running guests. See package enforcer and its README.
package main
