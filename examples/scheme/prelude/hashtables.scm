; SPDX-License-Identifier: MIT
; hashtables.scm: what takes a procedure and a hash table: SRFI 69's names, and those of R6RS.

(define %nothing (list 'nothing))

(define (make-hash-table . options)   ; the equivalence first, if it is given; a hash function is not needed
  (let ((same? (if (and (pair? options) (procedure? (car options))) (car options) equal?)))
    (cond ((or (eq? same? eq?) (eq? same? eqv?) (eq? same? =) (eq? same? char=?)) (make-eqv-hash-table))
          ((eq? same? string=?) (make-string-hash-table))
          ((eq? same? string-ci=?) (make-string-ci-hash-table))
          ((eq? same? equal?) (make-equal-hash-table))
          (else (error "make-hash-table: this equivalence has no hash function; eq?, eqv?, equal?, string=? and string-ci=? have:" same?)))))

(define (hash-table-ref table key . otherwise)
  (let ((found (hash-table-ref/default table key %nothing)))
    (cond ((not (eq? found %nothing))
           (if (and (pair? otherwise) (pair? (cdr otherwise)))
               ((cadr otherwise) found)
               found))
          ((and (pair? otherwise) (car otherwise)) ((car otherwise)))
          (else (error "hash-table-ref: there is no such key:" key)))))

(define (hash-table-update! table key change . otherwise)
  (let ((found (hash-table-ref/default table key %nothing)))
    (hash-table-set! table key
                     (change (cond ((not (eq? found %nothing)) found)
                                   ((and (pair? otherwise) (car otherwise)) ((car otherwise)))
                                   (else (error "hash-table-update!: there is no such key:" key)))))))

(define (hash-table-update!/default table key change default)
  (hash-table-set! table key (change (hash-table-ref/default table key default))))

(define hashtable-update! hash-table-update!/default) ; R6RS has the same order

(define (hash-table-walk table f)
  (for-each (lambda (entry) (f (car entry) (cdr entry))) (hash-table->alist table)))

(define (hash-table-for-each a b)
  (if (procedure? a) (hash-table-walk b a) (hash-table-walk a b)))

(define (hash-table-fold table f start)
  (if (procedure? table)
      (hash-table-fold start table f)  ; SRFI 125 has the procedure first, and the table last
      (fold (lambda (entry so-far) (f (car entry) (cdr entry) so-far)) start (hash-table->alist table))))

(define (hash-table-map->list f table)
  (map (lambda (entry) (f (car entry) (cdr entry))) (hash-table->alist table)))

(define (hash-table-intern! table key make)
  (let ((found (hash-table-ref/default table key %nothing)))
    (if (eq? found %nothing)
        (let ((made (make)))
          (hash-table-set! table key made)
          made)
        found)))

(define (hash-table-merge! into from)
  (hash-table-walk from (lambda (key value) (hash-table-set! into key value)))
  into)

(define (hash-table-empty? table) (= (hash-table-count table) 0))

(define (alist->hash-table entries . options)
  (let ((table (apply make-hash-table options)))
    (for-each (lambda (entry)          ; the first of a key counts
                (if (not (hash-table-contains? table (car entry)))
                    (hash-table-set! table (car entry) (cdr entry))))
              entries)
    table))
