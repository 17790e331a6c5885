; SPDX-License-Identifier: MIT
; ray.scm: a ray tracer for spheres, after Graham's.
(import (scheme base) (scheme write) (scheme process-context) (scheme time) (scheme inexact))
(include "run.scm")

(define-record-type point (make-point x y z) point? (x x) (y y) (z z))
(define-record-type sphere (make-sphere colour radius centre) sphere? (colour colour) (radius radius) (centre centre))

(define (sq x) (* x x))
(define (magnitude x y z) (sqrt (+ (sq x) (sq y) (sq z))))
(define (unit x y z)
  (let ((d (magnitude x y z)))
    (make-point (/ x d) (/ y d) (/ z d))))
(define (distance a b)
  (magnitude (- (x a) (x b)) (- (y a) (y b)) (- (z a) (z b))))

; The least root of a x^2 + b x + c that is real, or #f.
(define (least-root a b c)
  (if (= a 0.0)
      (/ (- c) b)
      (let ((discriminant (- (sq b) (* 4.0 a c))))
        (and (>= discriminant 0.0)
             (let ((root (sqrt discriminant)))
               (min (/ (- root b) (* 2.0 a)) (/ (- (- root) b) (* 2.0 a))))))))

(define (intersect sphere eye ray)
  (let* ((c (centre sphere))
         (dx (- (x eye) (x c))) (dy (- (y eye) (y c))) (dz (- (z eye) (z c)))
         (n (least-root (+ (sq (x ray)) (sq (y ray)) (sq (z ray)))
                        (* 2.0 (+ (* dx (x ray)) (* dy (y ray)) (* dz (z ray))))
                        (- (+ (sq dx) (sq dy) (sq dz)) (sq (radius sphere))))))
    (and n
         (make-point (+ (x eye) (* n (x ray))) (+ (y eye) (* n (y ray))) (+ (z eye) (* n (z ray)))))))

(define (lambert sphere hit ray)
  (let* ((c (centre sphere))
         (normal (unit (- (x c) (x hit)) (- (y c) (y hit)) (- (z c) (z hit)))))
    (max 0.0 (+ (* (x ray) (x normal)) (* (y ray) (y normal)) (* (z ray) (z normal))))))

; The sphere that a ray meets first lends its brightness.
(define (brightness world eye ray)
  (let loop ((world world) (best #f) (best-hit #f) (best-distance 0.0))
    (if (null? world)
        (if best
            (* (colour best) (lambert best best-hit ray))
            0.0)
        (let* ((hit (intersect (car world) eye ray))
               (far (and hit (distance hit eye))))
          (if (and far (or (not best) (< far best-distance)))
              (loop (cdr world) (car world) hit far)
              (loop (cdr world) best best-hit best-distance))))))

(define (make-world)
  (let ((spheres (list (make-sphere 0.8 200.0 (make-point 0.0 -300.0 -1200.0))
                       (make-sphere 0.7 200.0 (make-point -80.0 -150.0 -1200.0))
                       (make-sphere 0.9 200.0 (make-point 70.0 -100.0 -1200.0)))))
    (do ((i -2 (+ i 1))
         (more spheres
               (do ((k 2 (+ k 1))
                    (more more (cons (make-sphere 0.75 40.0 (make-point (* 200.0 i) 300.0 (* -400.0 k))) more)))
                   ((> k 7) more))))
        ((> i 2) more))))

; The sum of the brightnesses, 0 to 255, of res x res points.
(define (ray-trace res)
  (let ((world (make-world)) (eye (make-point 0.0 0.0 200.0)) (step (/ 100.0 res)) (image (make-bytevector (* res res))))
    (do ((i 0 (+ i 1)))
        ((= i res))
      (do ((j 0 (+ j 1)))
          ((= j res))
        (let* ((px (+ -50.0 (* step j))) (py (+ -50.0 (* step i)))
               (ray (unit (- px (x eye)) (- py (y eye)) (- (z eye)))))
          (bytevector-u8-set! image (+ j (* i res)) (exact (round (* 255.0 (brightness world eye ray))))))))
    (let loop ((i 0) (sum 0))
      (if (= i (bytevector-length image))
          sum
          (loop (+ i 1) (+ sum (bytevector-u8-ref image i)))))))

(run-program "ray" ray-trace 1 '(100) 767834 '(10) 7493)
