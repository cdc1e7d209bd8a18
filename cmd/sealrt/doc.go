// Command sealrt builds cluster images and runs clusters of them. It turns
// flags, the environment and the terminal into calls of the libraries, and
// their results into output and exit codes.
package main
