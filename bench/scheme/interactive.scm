; SPDX-License-Identifier: MIT
; interactive.scm: an interactive loop beside much live data: small steps at a steady pace, each due at a fixed time.
;
;   interactive.scm MIB STEPS PERIOD-US IDLE-MS [DETAIL-FILE]
;
; Prints NAME VALUE pairs, one a line: the largest time between two readings of the clock, which is read all the time; how late steps were done; a sum that must not
; depend on the collector. The detail file has lines `gap US COUNT`: times from when a step was due until it was done.
(import (scheme base) (scheme file) (scheme inexact) (scheme write) (scheme process-context) (scheme time))

(define (argument n) (string->number (list-ref (command-line) n)))
(define mib (argument 1))
(define steps (argument 2))
(define period (exact (round (* (argument 3) 1e-6 (jiffies-per-second)))))
(define idle (exact (round (* (argument 4) 1e-3 (jiffies-per-second)))))
(define detail (and (> (length (command-line)) 5) (list-ref (command-line) 5)))
(define (us jiffies) (/ (* 1e6 jiffies) (jiffies-per-second)))

(define seed 1)
(define (random-below n)
  (set! seed (modulo (* seed 16807) 2147483647))
  (modulo seed n))

; An entry: a list of 16 numbers, every second of them in floating point. 32 bytes a pair and 16 a number: 640 with the slot of the table 648.
(define entry-bytes 648)
(define (make-entry i)
  (let loop ((k 0) (entry '()))
    (if (= k 8)
        entry
        (loop (+ k 1) (cons (+ i k) (cons (+ i k 0.5) entry))))))
(define (entry-sum entry)
  (let loop ((entry entry) (sum 0))
    (if (null? entry)
        sum
        (loop (cdr entry) (+ sum (car entry))))))

(define count (exact (floor (/ (* mib 1048576) entry-bytes))))
(define table (make-vector count '()))

; A histogram of times: eight buckets for each power of two of a tenth of a microsecond.
(define buckets (make-vector 256 0))
(define (bucket-of time)
  (let loop ((t (max 1 (exact (round (* 10 (us time)))))) (power 0))
    (if (< t 16)
        (if (< t 8) t (+ (* 8 power) t))
        (loop (quotient t 2) (+ power 1)))))
(define (bucket-us bucket)
  (if (< bucket 16)
      (/ bucket 10.0)
      (* (expt 2.0 (- (quotient bucket 8) 1)) (+ 8 (modulo bucket 8)) 0.1)))
(define (percentile share)
  (let loop ((bucket 0) (left (* share steps)))
    (let ((left (- left (vector-ref buckets bucket))))
      (if (or (<= left 0) (= bucket 255))
          (bucket-us bucket)
          (loop (+ bucket 1) left)))))

; The clock, and the largest time between two readings of it.
(define last #f)
(define largest 0)
(define (now)
  (let ((t (current-jiffy)))
    (if (and last (> (- t last) largest))
        (set! largest (- t last)))
    (set! last t)
    t))
(define (begin-gaps!)
  (set! last #f)
  (set! largest 0))
(define (wait-until time)
  (if (< (now) time)
      (wait-until time)))

; Twenty entries are made; one of them takes another's place; three are looked at.
(define (step! i)
  (let loop ((k 1))
    (if (< k 20)
        (begin
          (make-entry (+ i k))
          (loop (+ k 1)))))
  (vector-set! table (random-below count) (make-entry i))
  (entry-sum (vector-ref table (random-below count)))
  (entry-sum (vector-ref table (random-below count)))
  (entry-sum (vector-ref table (random-below count))))

(define (run!)
  (let ((start (now)))
    (let loop ((i 0) (latest 0))
      (if (= i steps)
          latest
          (let ((due (+ start (* i period))))
            (wait-until due)
            (step! i)
            (let* ((late (- (now) due)) (bucket (min 255 (bucket-of late))))
              (vector-set! buckets bucket (+ 1 (vector-ref buckets bucket)))
              (loop (+ i 1) (max latest late))))))))

(define (say name value)
  (display name)
  (display " ")
  (display value)
  (newline))

(define (total)
  (let loop ((i 0) (sum 0))
    (if (= i count)
        sum
        (loop (+ i 1) (+ sum (entry-sum (vector-ref table i)))))))

; The machine alone.
(begin-gaps!)
(wait-until (+ (now) idle))
(define machine largest)

(define fill-began (current-jiffy))
(do ((i 0 (+ i 1)))
    ((= i count))
  (vector-set! table i (make-entry i)))
(define fill-time (- (current-jiffy) fill-began))

(begin-gaps!)
(define run-began (current-jiffy))
(define latest (run!))
(define run-time (- (current-jiffy) run-began))
(define gap largest)

(say "live_mib" mib)
(say "machine_gap_max_us" (us machine))
(say "fill_s" (/ (us fill-time) 1e6))
(say "wall_s" (/ (us run-time) 1e6))
(say "steps" steps)
(say "gap_max_us" (us gap))
(say "late_p50_us" (percentile 0.5))
(say "late_p99_us" (percentile 0.99))
(say "late_p999_us" (percentile 0.999))
(say "late_max_us" (us latest))
(say "check" (exact (round (total))))
(if detail
    (call-with-output-file detail
      (lambda (port)
        (do ((bucket 0 (+ bucket 1)))
            ((= bucket 256))
          (if (> (vector-ref buckets bucket) 0)
              (begin
                (write-string "gap " port)
                (write (bucket-us bucket) port)
                (write-char #\space port)
                (write (vector-ref buckets bucket) port)
                (newline port)))))))
