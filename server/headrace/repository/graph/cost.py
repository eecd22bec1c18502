"""Whether the shapes of a graph's inputs alone decide what executing it costs."""

from onnx import ModelProto

# Operators that cost what their inputs' shapes say, and whose outputs' shapes follow from those.
_OPERATORS = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu
Clip Concat Constant Conv ConvTranspose Cos Cosh DepthToSpace Div Dropout Elu Equal Erf Exp Flatten Floor
Gather GatherElements Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization
GRU HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax LRN LSTM MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pow
Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare Relu Reshape RNN Round Selu Shape Sigmoid Sign Sin Sinh Size Softmax Softplus
Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Transpose Unsqueeze Where Xor
ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LinearClassifier LinearRegressor Normalizer
Scaler SVMClassifier SVMRegressor TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor
"""
_FIXED_COST = frozenset(_OPERATORS.split())
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# The second input of these says how the result is cut: as a constant only.
_NEED_CONSTANT = frozenset({"Reshape", "Split", "Squeeze", "Unsqueeze"})


def has_fixed_cost(model: ModelProto) -> bool:
    """True where no values of the inputs, only their shapes, can make the graph take longer.

    Told by a list of operators: what is not on it (loops, conditions, whatever makes tensors of a size that
    an input says, functions of the model's own) is taken to depend on values.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    if model.functions:
        return False
    for node in model.graph.node:
        if node.op_type not in _FIXED_COST or node.domain not in _DOMAINS:
            return False
        if node.op_type in _NEED_CONSTANT and len(node.input) > 1 and node.input[1] not in constants:
            return False
    return True
