package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
)

const (
	nodeCount   = 3
	bufferBytes = 1 << 20
)

// A write is a call's part for one node: encoded commands, each of which is answered by an integer.
type write struct {
	commands []byte
	replies  int
	done     chan<- error
}

// A node is the connection to a primary. Writes that come together go out together; replies come in their order.
type node struct {
	writes     chan *write
	unanswered chan *write
}

func connect(address string) *node {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	n := &node{make(chan *write, 4096), make(chan *write, 65536)}
	go n.send(connection)
	go n.receive(connection)
	return n
}

func (n *node) send(connection net.Conn) {
	out := bufio.NewWriterSize(connection, bufferBytes)
	for next := range n.writes {
		for waiting := len(n.writes); ; waiting-- {
			if _, err := out.Write(next.commands); err != nil {
				log.Fatal(err)
			}
			n.unanswered <- next
			if waiting == 0 {
				break
			}
			next = <-n.writes
		}
		if err := out.Flush(); err != nil {
			log.Fatal(err)
		}
	}
}

func (n *node) receive(connection net.Conn) {
	in := bufio.NewReaderSize(connection, bufferBytes)
	for next := range n.unanswered {
		var failure error
		for range next.replies {
			line, err := in.ReadSlice('\n')
			if err != nil {
				log.Fatal(err)
			}
			if line[0] != ':' {
				failure = fmt.Errorf("the cluster refused a command: %s", line)
			}
		}
		next.done <- failure
	}
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()

// NodeOf tells which of three nodes has the slot of a key.
func nodeOf(key []byte) int {
	var crc uint16
	for _, octet := range key {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^octet]
	}
	switch slot := crc & 16383; {
	case slot < 5461:
		return 0
	case slot < 10923:
		return 1
	default:
		return 2
	}
}
