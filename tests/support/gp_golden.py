"""Prints the numbers of scikit-learn that tests/unit/opt/gp_test.c compares with: a Matérn-5/2 process with a length scale per dimension."""
import math

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

N, D = 12, 3
X = np.array([[((i * 7 + k * 5) * 0.618034 + 0.1 * k) % 1 for k in range(D)] for i in range(N)])
Y = np.array([math.sin(3 * x[0]) + x[1] * x[1] - 0.5 * x[2] for x in X])
POINTS = np.array([[0.1, 0.2, 0.3], [0.9, 0.5, 0.05], [0.45, 0.95, 0.7]])
LENGTHS, SIGNAL, NOISE = [0.4, 0.9, 2.5], 1.7, 0.01

gp = GaussianProcessRegressor(ConstantKernel(SIGNAL, "fixed") * Matern(LENGTHS, "fixed", nu=2.5), alpha=NOISE, optimizer=None).fit(X, Y)
mean, sd = gp.predict(POINTS, return_std=True)
print("log likelihood without its constant: %.12f" % (gp.log_marginal_likelihood_value_ + 0.5 * N * math.log(2 * math.pi)))
print("mean:", ", ".join("%.12f" % value for value in mean))
print("sd:", ", ".join("%.12f" % value for value in sd))
